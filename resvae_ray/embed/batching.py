"""Splits long proteins into windows, and proteins into batches with a bounded number of tokens."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

SPECIAL_TOKENS = 2  # at most, around each window: a first and an end token


def length_order(lengths: np.ndarray) -> np.ndarray:
    """Rows by length, equal ones in their order (n)."""
    return np.argsort(lengths, kind="stable")


def token_batches(lengths: Sequence[int], budget: int) -> list[range]:
    """Runs of sequences that, padded to the longest of the run, stay within `budget` tokens; one at least a run."""
    batches: list[range] = []
    start = longest = 0
    for row, length in enumerate(lengths):
        padded = max(longest, length + SPECIAL_TOKENS)
        if row > start and padded * (row + 1 - start) > budget:
            batches.append(range(start, row))
            start, padded = row, length + SPECIAL_TOKENS
        longest = padded
    if lengths:
        batches.append(range(start, len(lengths)))
    return batches


def windows(sequence: str, max_length: int) -> list[str]:
    """A sequence in the fewest pieces of at most `max_length` letters, their lengths differing by one at most."""
    count = -(-len(sequence) // max_length)
    size, longer = divmod(len(sequence), count)
    starts = [number * size + min(number, longer) for number in range(count + 1)]
    return [sequence[start:stop] for start, stop in pairwise(starts)]


def part_bounds(lengths: np.ndarray, residues: int) -> list[tuple[int, int]]:
    """The bounds of the parts of sorted proteins, each with about `residues` residues in total.

    Args:
        lengths: (n) ascending.
    """
    part = (np.cumsum(lengths) - lengths) // residues
    edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(lengths)]
    return list(pairwise(edges))
