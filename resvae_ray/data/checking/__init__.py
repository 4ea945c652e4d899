"""What FEATURES are like, and what a Res-VAE will make of them."""
