"""`import`, `check` and `split` as Ray Data jobs: shard by shard, without a copy of the whole anywhere.

Files and figures are those of one process (data/importers, data/checking, data/splitting), which does small inputs
without Ray.
"""
