"""Everything that is adapted in Ray Tune, and nowhere else."""
