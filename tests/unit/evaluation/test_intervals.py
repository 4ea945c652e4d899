"""The verdicts, on representations of which it is known whether one is better."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from resvae_ray.evaluation import intervals
from resvae_ray.evaluation.intervals import BETTER, EQUAL, WORSE, GroupedSums, Samples, difference
from resvae_ray.evaluation.label_scores import matthews


def verdict(ours, theirs, seed=0):
    samples = Samples(len(ours), seed)
    return samples.difference("a", "b", "measure", samples.means(ours), samples.means(theirs)).verdict


def test_means_that_are_truly_equal_are_not_distinguishable_under_most_seeds():
    """The same difficulty of a row on both sides, and noise of their own."""
    found = Counter()
    for seed in range(60):
        draw = np.random.default_rng(seed)
        hard = draw.normal(size=80)
        found[verdict(hard + draw.normal(size=80), hard + draw.normal(size=80))] += 1
    assert found[EQUAL] >= 52, found


def test_a_mean_that_is_truly_higher_is_better_and_the_other_worse():
    draw = np.random.default_rng(0)
    hard = 10 * draw.normal(size=80)
    ours, theirs = hard + 1 + draw.normal(size=80), hard + draw.normal(size=80)
    assert verdict(ours, theirs) == BETTER, "paired: what is hard about a row cancels"
    assert verdict(theirs, ours) == WORSE


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(0.3, 1, 60)
        drawn = Samples(60, seed).means(values)
        found = difference("a", "b", "measure", drawn, 60)
        covered += found.low <= 0.3 <= found.high
    assert 0.9 <= covered / 200 <= 0.98


def test_too_few_rows_for_an_interval():
    found = difference("a", "b", "measure", Samples(9, 0).means(np.ones(9)), 9)
    assert (found.value, found.low, found.high, found.verdict) == (1.0, None, None, EQUAL)


def test_equal_seeds_draw_equal_samples_and_the_first_is_the_rows_themselves():
    first, again, other = (Samples(30, seed).weights for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first[0], 1)
    np.testing.assert_array_equal(first.sum(1), 30)


def test_matthews_correlation_of_each_sample_is_that_of_scikit_learn():
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 4, 50)
    said = np.where(draw.random(50) < 0.6, codes, draw.integers(0, 5, 50))
    samples = Samples(50, 0)
    found = matthews(samples, codes, said)
    assert found[0] == pytest.approx(matthews_corrcoef(codes, said), abs=1e-6)
    for number in (1, 2, 3):
        rows = np.repeat(np.arange(50), samples.weights[number].astype(int))
        assert found[number] == pytest.approx(matthews_corrcoef(codes[rows], said[rows]), abs=1e-6)
    assert (matthews(samples, codes, np.zeros(50, int)) == 0).all()


@pytest.mark.parametrize("block", [1, 7, 100])
def test_grouped_means_are_those_of_all_rows_whatever_the_blocks(block, monkeypatch):
    monkeypatch.setattr(intervals, "GROUPS", 16)
    values = np.random.default_rng(0).normal(size=100)
    sums = GroupedSums()
    for start in range(0, 100, block):
        sums.add(values[start : start + block])
    means = sums.means(0)
    assert means[0] == pytest.approx(values.mean())
    assert means[1:].std() == pytest.approx(values.std() / 10, rel=0.5), "as far as 16 groups can tell"


def test_up_to_the_number_of_groups_a_group_is_a_row():
    values = np.random.default_rng(0).normal(size=50)
    sums = GroupedSums()
    sums.add(values)
    np.testing.assert_allclose(sums.means(0), Samples(50, 0).means(values), rtol=1e-5)
