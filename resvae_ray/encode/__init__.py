"""FEATURES and a MODEL to LATENTS, as a Ray Data job."""
