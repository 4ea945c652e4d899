"""Inspects FEATURES and predicts how well a Res-VAE can compress them."""
