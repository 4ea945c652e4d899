"""Protein features: import, check, split, and stream to training."""
