"""Neighbourhoods, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from resvae_ray.evaluation.neighbours import NEIGHBOURS, Neighbourhoods, agreement


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(60, 4)) * [1, 1, 10, 1]


def test_the_mean_over_the_rows_is_the_trustworthiness_of_scikit_learn(x):
    found = Neighbourhoods(x)
    for z in (x[:, :2], x[:, 2:], np.random.default_rng(1).normal(size=(60, 3))):
        assert found.trust(z).mean() == pytest.approx(trustworthiness(x, z, n_neighbors=NEIGHBOURS), abs=1e-12)


def test_a_map_is_trusted_as_far_as_it_keeps_neighbours(x):
    found = Neighbourhoods(x)
    np.testing.assert_array_equal(found.trust(x * 3 + 1), 1.0)
    assert found.trust(np.random.default_rng(1).normal(size=(60, 2))).mean() < 0.75
    assert Neighbourhoods(x[:10]).trust(x[:10]) is None


def test_agreement_is_the_share_of_the_nearest_known_rows_with_the_label(x):
    known, codes = x[:40], np.arange(40) % 3
    found = agreement(known, codes, x[40:], np.zeros(20, int))
    distances = ((x[40:, None] - known[None]) ** 2).sum(-1)
    nearest = np.argsort(distances, 1)[:, :NEIGHBOURS]
    np.testing.assert_allclose(found, (codes[nearest] == 0).mean(1))
