"""How much memory do import and split take of a large file, and how fast are they?

    python -m benchmarks.import_split FOLDER [--rows 1000000] [--dim 1280] [--format parquet|csv] [--check]

writes synthetic features of that size into FOLDER, imports and splits them (with --check also checks them), each in a
process of its own, and prints one line of JSON: for each step its seconds, MB of float32 a second and peak memory (the
resident set, as the kernel counted it for that process). At the end FOLDER holds the features twice, besides the file
that is imported: 1,000,000 x 1280 numbers are 5 GB, and some 15 GB as CSV.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from resvae_ray.data.schema import vectors
from resvae_ray.data.synthetic import BLOCK_ROWS, PREFIX, synthetic_batches

GROUP_BLOCKS = 32  # blocks in a row group of the Parquet file: 32,768 rows, more than a reader should hold at once
POOL = 16  # different blocks of synthetic rows; drawing each row anew would take longer than what is measured


def main() -> None:
    """Makes the file, runs the steps and prints what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--check", action="store_true", help="check the imported features too")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    source, features = options.folder / f"source.{options.format}", options.folder / "features"
    write = {"parquet": write_parquet, "csv": write_csv}[options.format]
    in_a_process(write, source, options.rows, options.dim)
    steps = {"import": [source, features], "split": [features, options.folder / "dataset"]}
    if options.check:
        steps["check"] = [features]
    size = 4e-6 * options.rows * options.dim
    made = {"rows": options.rows, "dim": options.dim, "format": options.format, "float32_mb": round(size)}
    made["source_mb"] = round(source.stat().st_size / 1e6)
    print(json.dumps(made | {verb: measured(size, verb, *paths) for verb, paths in steps.items()}))


def in_a_process(run: Callable[..., None], *arguments: object) -> None:
    """Runs it elsewhere: what this process once held would count as the peak of all that it starts."""
    process = multiprocessing.get_context("spawn").Process(target=run, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{run.__name__}: it failed")


def measured(size: float, *command: object) -> dict[str, Any]:
    """Runs a verb in a process of its own: seconds, MB per second of `size` MB, peak memory in MB."""
    start = time.monotonic()
    arguments = [sys.executable, "-m", "resvae_ray", *map(str, command)]
    # The output of the verb goes to stderr, so that stdout holds one line of JSON.
    child = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"{' '.join(arguments)}: it failed")
    seconds = time.monotonic() - start
    return {
        "seconds": round(seconds, 1),
        "mb_per_s": round(size / seconds, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def write_parquet(path: Path, rows: int, dim: int) -> None:
    """One file with a column of vectors (list of float32) in large row groups, as most tools write."""
    schema = pa.schema([("id", pa.string()), ("label", pa.string()), ("features", pa.list_(pa.float32()))])
    with_dictionary: Any = ["label"]
    with pq.ParquetWriter(path, schema, use_dictionary=with_dictionary) as writer:
        tables = (
            pa.table([ids, labels, vectors(matrix).cast(pa.list_(pa.float32()))], schema=schema)
            for ids, labels, matrix in blocks(rows, dim)
        )
        while group := list(islice(tables, GROUP_BLOCKS)):
            writer.write_table(pa.concat_tables(group), row_group_size=GROUP_BLOCKS * BLOCK_ROWS)


def write_csv(path: Path, rows: int, dim: int) -> None:
    """One file with a column a feature."""
    names = [f"{PREFIX}{number}" for number in range(dim)]
    schema = pa.schema([("id", pa.string()), ("label", pa.string()), *((name, pa.float32()) for name in names)])
    with pacsv.CSVWriter(path, schema) as writer:
        for ids, labels, matrix in blocks(rows, dim):
            columns = [ids, labels, *(pa.array(column) for column in matrix.T.copy())]
            writer.write_table(pa.table(columns, schema=schema))


def blocks(rows: int, dim: int) -> Iterator[tuple[pa.Array, pa.Array, np.ndarray]]:
    """Ids, labels and features; the features come from a pool of blocks, each time scaled otherwise."""
    pool = list(synthetic_batches(POOL * BLOCK_ROWS, dim))
    for number, start in enumerate(range(0, rows, BLOCK_ROWS)):
        batch, count = pool[number % POOL], min(BLOCK_ROWS, rows - start)
        ids = pa.array([f"SYN{row:010d}" for row in range(start, start + count)])
        labels = batch.others.column("label").combine_chunks()[:count]
        yield ids, labels, batch.features[:count] * np.float32(1 + number * 1e-6)


if __name__ == "__main__":
    main()
