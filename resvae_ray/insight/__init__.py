"""What a model is worth: its latents beside PCA and the raw features."""
