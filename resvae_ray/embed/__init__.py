"""Proteins to FEATURES with a protein language model: settings, model, pooling, and the Ray Data job."""
