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
SIP_ROWS = 1 << 14  # texts hashed at a time: their state fits a cache
SIP_KEY = np.frombuffer(b"0123456789123456", "<u8")  # of pandas
SIP_STATE = np.array([0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573], np.uint64)
SIP_STATE ^= np.tile(SIP_KEY, 2)
MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def hash_texts(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A hash of each text (n, uint64); ABSENT for a missing or empty one.

    The hashes are those of `pandas.util.hash_array`, which are in files that this package has written: SipHash-2-4
    (Aumasson & Bernstein 2012) of the UTF-8 bytes, and a mixing step. Many texts at a time, without an object per text,
    they take a ninth (ids) to a half (sequences) of its time.
    """
    filled = pc.fill_null(texts.cast(pa.large_string()), "")
    chunks = filled.chunks if isinstance(filled, pa.ChunkedArray) else [filled]
    parts = (chunk.slice(start, SIP_ROWS) for chunk in chunks for start in range(0, len(chunk), SIP_ROWS))
    return np.concatenate([np.empty(0, np.uint64), *map(_hash_part, parts)])


def _hash_part(texts: pa.LargeStringArray) -> np.ndarray:
    _, offsets, content = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    bounds = ends - ends[0]
    padded = np.zeros(bounds[-1] + 8, np.uint8)
    if bounds[-1]:
        padded[:-8] = np.frombuffer(content, np.uint8)[ends[0] : ends[-1]]
    sizes = np.diff(bounds)
    hashes = _sip_hash(padded, bounds[:-1], sizes)
    for shift, factor in MIXING:
        hashes ^= hashes >> np.uint64(shift)
        hashes *= np.uint64(factor)
    return np.where(sizes > 0, hashes ^ (hashes >> np.uint64(31)), ABSENT)


def _sip_hash(content: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """SipHash-2-4 of texts (n, uint64).

    Args:
        content: all bytes, and 8 more.
        starts, sizes: of each text in it (n).
    """
    words = np.ndarray(len(content) - 7, "<u8", content, strides=(1,))  # the 8 bytes from each position
    order = np.argsort(-(sizes // 8), kind="stable")  # those that still have whole words come first
    starts, sizes = starts[order], sizes[order]
    whole = sizes // 8
    state = np.repeat(SIP_STATE[:, None], len(sizes), axis=1)
    for word in range(int(whole.max(initial=0))):
        left = int(np.searchsorted(-whole, -word))
        _absorb(state[:, :left], words[starts[:left] + 8 * word])
    rest = words[starts + 8 * whole] & ((np.uint64(1) << (8 * (sizes % 8)).astype(np.uint64)) - np.uint64(1))
    _absorb(state, rest | (sizes.astype(np.uint64) << np.uint64(56)))
    state[2] ^= np.uint64(0xFF)
    _rounds(state, 4)
    hashes = np.empty(len(sizes), np.uint64)
    hashes[order] = state[0] ^ state[1] ^ state[2] ^ state[3]
    return hashes


def _absorb(state: np.ndarray, words: np.ndarray) -> None:
    """Adds a word (n) to each state (4, n), in place."""
    state[3] ^= words
    _rounds(state, 2)
    state[0] ^= words


def _rounds(state: np.ndarray, count: int) -> None:
    a, b, c, d = state
    for _ in range(count):
        a += b
        c += d
        b[:], d[:] = _turned(b, 13) ^ a, _turned(d, 16) ^ c
        a[:] = _turned(a, 32)
        c += b
        a += d
        b[:], d[:] = _turned(b, 17) ^ c, _turned(d, 21) ^ a
        c[:] = _turned(c, 32)


def _turned(words: np.ndarray, bits: int) -> np.ndarray:
    """The words with their bits rotated to the left."""
    return (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))


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
