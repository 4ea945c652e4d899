"""64-bit hashes of texts and vectors: 8 bytes per row, enough to compare 100 million proteins in memory.

Two different values collide with probability 2**-64; among 10**8 rows the probability of any collision is 0.0003.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ABSENT = np.uint64(0)  # stands for a missing or empty text, and for a row without a vector: like nothing else
CHUNK_ROWS = 1 << 20  # looked up at a time


def hash_texts(texts: pa.Array) -> np.ndarray:
    """A hash of each text (n, uint64); ABSENT for a missing or empty one."""
    import pandas as pd  # here and not above: it is slow to load, and a search waits for it before Ray starts

    present = pc.not_equal(pc.fill_null(texts, ""), "").to_numpy(zero_copy_only=False)
    values = np.asarray(pc.fill_null(texts, "").to_numpy(zero_copy_only=False), dtype=object)
    return np.where(present, pd.util.hash_array(values), ABSENT)


def hash_vectors(matrix: np.ndarray) -> np.ndarray:
    """A hash of each row (n, uint64) of a float32 matrix (n, D); 0.0 and -0.0 are the same."""
    rows = np.ascontiguousarray(matrix + np.float32(0))
    digests = b"".join(hashlib.blake2b(row.data, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, np.uint64)


def gather(parts: Iterable[np.ndarray], rows: int) -> np.ndarray:
    """The hashes of `rows` rows, which come in parts, as one array."""
    hashes = np.empty(rows, np.uint64)
    start = 0
    for part in parts:
        hashes[start : start + len(part)] = part
        start += len(part)
    return hashes


def hash_set(texts: Iterable[pa.Array]) -> np.ndarray:
    """The hashes of the different texts in all pieces (k, uint64), sorted, without ABSENT."""
    return distinct(np.concatenate([np.empty(0, np.uint64), *map(hash_texts, texts)]))


def distinct(hashes: np.ndarray) -> np.ndarray:
    """The different ones (k, uint64), sorted, without ABSENT."""
    found = np.unique(hashes)
    return found[found != ABSENT]


def members(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of `hashes` (n) are among `known`, which is sorted: (n, bool)."""
    found = np.zeros(len(hashes), dtype=bool)
    if len(known):
        for start in range(0, len(hashes), CHUNK_ROWS):
            part = hashes[start : start + CHUNK_ROWS]
            places = np.minimum(np.searchsorted(known, part), len(known) - 1)
            found[start : start + CHUNK_ROWS] = known[places] == part
    return found


@dataclass(frozen=True)
class Repeats:
    """Values that appear more than once.

    Attributes:
        rows: rows that repeat an earlier one.
        first: the first such row and the earlier one that it repeats, from 0; None if no row repeats another.
    """

    rows: int
    first: tuple[int, int] | None = None


def find_repeats(hashes: np.ndarray) -> Repeats:
    """Finds repeats among the hashes (n) of all rows, ignoring ABSENT. Needs 8 more bytes per row."""
    ordered = np.sort(hashes)
    ordered = ordered[np.searchsorted(ordered, ABSENT, side="right") :]
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return Repeats(0)
    rows = np.flatnonzero(members(hashes, repeated))
    # Among rows that share a hash, all but the first repeat an earlier one.
    kinds, firsts = np.unique(hashes[rows], return_index=True)
    again = np.delete(rows, firsts)[0]
    earlier = rows[firsts[np.searchsorted(kinds, hashes[again])]]
    return Repeats(len(repeated), (int(again), int(earlier)))
