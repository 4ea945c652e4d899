"""`import` and `split` as Ray Data jobs: from shards to shards, without a copy of the whole anywhere.

The files have the bytes that one process writes (data/importers, data/splitting), which does small inputs without Ray.
"""
