"""The Res-VAE: its network, its loss, its training and its file format. Nothing here knows of Ray."""
