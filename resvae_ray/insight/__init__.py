"""What a search and its model are worth: figures and a page, and the latents beside PCA and the raw features."""
