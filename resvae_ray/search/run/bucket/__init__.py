"""A RUN in a bucket: its local copy, its lock, and the checkpoints of its trainings."""
