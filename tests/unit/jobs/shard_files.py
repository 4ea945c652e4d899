"""Shards of FEATURES and the files of a folder, for the tests of jobs."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resvae_ray.data.schema import vectors

DIM = 4


def write_shard(path, first, rows, dim=DIM, ids=None):
    """Rows P000, …, from number `first` on; sequences repeat every 9 rows, vectors follow from the number."""
    numbers = np.arange(first, first + rows)
    table = pa.table(
        {
            "id": ids or [f"P{number:03d}" for number in numbers],
            "features": vectors(np.outer(numbers, np.arange(1, dim + 1)).astype(np.float32)),
            "label": [f"class {number % 3}" for number in numbers],
            "sequence": ["ACDEFGHIKL"[: 1 + number % 9] for number in numbers],
        }
    )
    pq.write_table(table, path, row_group_size=7)


def contents(folder):
    """The bytes of all files of a folder by their names."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
