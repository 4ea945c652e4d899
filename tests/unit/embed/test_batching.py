"""Every residue once, in its order, and no batch above its budget."""

import numpy as np
import pytest

from resvae_ray.embed.batching import part_bounds, token_batches, windows


@pytest.mark.parametrize("budget", [1, 30, 100, 10_000])
@pytest.mark.parametrize("order", ["ascending", "descending", "any"])
def test_batches_hold_all_and_keep_the_budget(budget, order):
    lengths = np.random.default_rng(0).integers(1, 60, 200).tolist()
    lengths = sorted(lengths, reverse=order == "descending") if order != "any" else lengths
    batches = token_batches(lengths, budget)
    assert [row for batch in batches for row in batch] == list(range(200))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * (max(lengths[row] for row in batch) + 2) <= budget
    assert len(batches) < 200 or budget < 30


def test_no_sequences_no_batches():
    assert token_batches([], 100) == []


@pytest.mark.parametrize(("length", "most", "expected"), [(10, 10, [10]), (11, 10, [6, 5]), (25, 10, [9, 8, 8])])
def test_windows_are_few_and_even(length, most, expected):
    text = "".join(chr(65 + i) for i in range(length))
    pieces = windows(text, most)
    assert [len(piece) for piece in pieces] == expected
    assert "".join(pieces) == text


def test_parts_hold_all_residues_in_similar_numbers():
    lengths = np.sort(np.random.default_rng(0).integers(1, 500, 1000))
    bounds = part_bounds(lengths, 10_000)
    assert [row for start, stop in bounds for row in range(start, stop)] == list(range(1000))
    assert all(lengths[start:stop].sum() < 10_000 + 500 for start, stop in bounds)
    assert len(bounds) <= lengths.sum() / 10_000 + 1
    assert part_bounds(np.array([5000]), 10) == [(0, 1)]
    assert part_bounds(np.array([7, 7, 7]), 5) == [(0, 1), (1, 2), (2, 3)]
