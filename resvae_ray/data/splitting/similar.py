"""Near-identical vectors: which rows of FEATURES are almost a vector of another set.

The measure is the cosine *after the mean of FEATURES is subtracted from both*. The plain cosine tells nothing here:
language-model features share a large common mean, and a few outlier dimensions dominate it (Timkey & van Schijndel
2021, arXiv:2109.04404); of ESM-2 650M `cls` features any two proteins have a cosine of about 0.98. Centred, unrelated
proteins have one around 0, and at 0.999 two vectors differ by about 4.5 % of their distance from the mean.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resvae_ray.data.features import Features, rows_in
from resvae_ray.data.importers import reader_for
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError
from resvae_ray.progress import Progress

BLOCK_BYTES = 128 << 20  # of the other set's float32 held at a time; FEATURES are read once for each block
PRODUCT_COLUMNS = 4096  # vectors of a block compared at a time
TOLERANCE = 1e-6  # of a cosine computed in float32
NO_DIRECTION = 1e-7  # of its length: a vector so near the mean differs from it by the rounding of float32


def rows_like(source: Features, other: str | Path, threshold: float, progress: Progress) -> np.ndarray:
    """Which rows of `source` (n, bool) have a centred cosine of at least `threshold` with a vector of `other`.

    A vector that equals the mean has no direction; it is only like one that equals it too. Memory does not depend on
    the number of rows on either side but for the answer.

    Args:
        other: features in Parquet, CSV or TSV.
        progress: told the rows of `source` read so far: once for the mean, then once for each block of `other`.

    Raises:
        DataError: `other` has no features, or of another width.
    """
    mean = _mean(source, progress)
    like = np.zeros(source.rows, dtype=bool)
    done = source.rows
    for theirs in _blocks(str(other), mean):
        start = 0
        for batch in source.batches():
            ours = _directions(batch.features, mean)
            like[start : start + len(ours)] |= _near(ours, theirs, threshold)
            start, done = start + len(ours), done + len(ours)
            progress(done, None)
    return like


def _mean(source: Features, progress: Progress) -> np.ndarray:
    total, rows = np.zeros(source.dim), 0
    for batch in source.batches():
        total += batch.features.sum(0, dtype=np.float64)
        rows += len(batch)
        progress(rows, None)
    return total / rows


def _blocks(other: str, mean: np.ndarray) -> Iterator[np.ndarray]:
    """The directions (m, D) of the other set's vectors, in blocks of about BLOCK_BYTES."""
    parts: list[np.ndarray] = []
    for batch in reader_for(other)(other, ColumnChoice()):
        if (width := batch.features.shape[1]) != len(mean):
            raise DataError(f"{other}: vectors of {width} numbers; to be compared they must have {len(mean)}")
        parts.append(_directions(batch.features, mean))
        if sum(map(len, parts)) >= rows_in(BLOCK_BYTES, len(mean)):
            yield np.concatenate(parts)
            parts = []
    if parts:
        yield np.concatenate(parts)


def _directions(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The rows less the mean (n, D), each of length 1, or 0 where it equals the mean."""
    centred = features - mean
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directed = lengths > NO_DIRECTION * np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=directed).astype(np.float32)


def _near(ours: np.ndarray, theirs: np.ndarray, threshold: float) -> np.ndarray:
    near = np.zeros(len(ours), dtype=bool)
    for start in range(0, len(theirs), PRODUCT_COLUMNS):
        part = theirs[start : start + PRODUCT_COLUMNS]
        near |= (ours @ part.T).max(1) >= threshold - TOLERANCE
    if not theirs.any(1).all():
        near |= ~ours.any(1)
    return near
