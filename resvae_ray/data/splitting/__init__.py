"""FEATURES parted into training and validation rows, without what a test set holds."""
