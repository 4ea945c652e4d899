"""The latents of a model beside PCA and the raw features."""
