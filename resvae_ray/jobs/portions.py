"""The rows of FEATURES of which a task makes one output file, and the check that they are those that were counted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pyarrow import fs as pafs

from resvae_ray.data.features import Features
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.errors import JobError
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import AnyPath, reaching

LARGE_BYTES = 2 << 30  # of Parquet: from here on a job on this machine's cores pays for the start of Ray
BLOCK_ROWS = 1 << 24  # of a mask, looked through at a time

States = Mapping[str, list[int]]  # of files: size and time of the last write


@dataclass(frozen=True)
class Portion:
    """Rows `start` to `stop`, without, of all rows, which make the file `output` with `rows` rows.

    Attributes:
        files, starts, counts: where they are: `counts[i]` rows of `files[i]` from row `starts[i]` on, counted from 0.
    """

    output: str
    rows: int
    start: int
    stop: int
    files: list[str]
    starts: list[int]
    counts: list[int]


def portion_of(source: Features, output: str, rows: int, start: int, stop: int) -> Portion:
    """The portion of FEATURES from row `start` to row `stop`."""
    ends = np.cumsum([0, *source.file_rows])
    files, starts, counts = [], [], []
    for file, begin, end in zip(source.files, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        if (first := max(start, begin)) < (last := min(stop, end)):
            files.append(file)
            starts.append(first - begin)
            counts.append(last - first)
    return Portion(output, rows, start, stop, files, starts, counts)


def stretches(chosen: np.ndarray, size: int) -> list[tuple[int, int, int]]:
    """Parts a mask (n, bool) into stretches with `size` True values each, the last perhaps with fewer.

    Returns:
        For each its first row, the first row of the next, and its number of True values.
    """
    starts, total = list[int](), 0
    for base in range(0, len(chosen), BLOCK_ROWS):
        places = base + np.flatnonzero(chosen[base : base + BLOCK_ROWS])
        starts += places[-total % size :: size].tolist()
        total += len(places)
    counts = [size] * (len(starts) - 1) + [total - size * (len(starts) - 1)]
    return list(zip(starts, [*starts[1:], len(chosen)], counts, strict=True))


def states_of(source: Features, files: Sequence[str]) -> dict[str, list[int]]:
    """`file_states` of some files of FEATURES."""
    return file_states(source.path, source.filesystem, files)


def file_states(source: AnyPath, filesystem: pafs.FileSystem, files: Sequence[str]) -> dict[str, list[int]]:
    """Size and time of the last write of each file, by which a change is noticed.

    Raises:
        JobError: the storage cannot be reached.
    """
    with reaching(source):
        infos = filesystem.get_file_info(list(files))
    return {file: [info.size or 0, info.mtime_ns or 0] for file, info in zip(files, infos, strict=True)}


def rows_of(portion: Portion, source: Features, states: States) -> Iterator[FeatureBatch]:
    """The rows of a portion in order; see `Features.batches`.

    Raises:
        JobError: a file is not in the state in which its rows were counted.
    """
    _require_unchanged(portion, source, states)
    for file, start, count in zip(portion.files, portion.starts, portion.counts, strict=True):
        yield from source.rows_of_file(file, start, count)
    _require_unchanged(portion, source, states)


def _require_unchanged(portion: Portion, source: Features, states: States) -> None:
    for file, state in states_of(source, portion.files).items():
        if state != states[file]:
            raise JobError(f"{file}: has changed since its rows were counted; run the same command again")


def is_large(path: AnyPath) -> bool:
    """Whether the Parquet files of a path are worth a job."""
    return bytes_of(file_states(path, *list_files(path, SUFFIX))) >= LARGE_BYTES


def bytes_of(states: States) -> int:
    """The size of all files together."""
    return sum(size for size, _ in states.values())
