"""Protein features: read from whatever holds them, checked, split, and fed to the training."""
