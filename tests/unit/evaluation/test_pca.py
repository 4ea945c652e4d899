"""PCA in blocks, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.decomposition import PCA as SklearnPCA

from resvae_ray.data.moments import Covariance
from resvae_ray.evaluation.pca import PCA


def scatter(x, block):
    found = Covariance(x.shape[1])
    for start in range(0, len(x), block):
        found.add(x[start : start + block])
    return found


@pytest.fixture
def sides():
    """Training and validation rows about another mean, far from 0, with one feature that never varies."""
    draw = np.random.default_rng(0)
    mix = draw.normal(size=(4, 9)) * np.geomspace(1, 0.01, 9)

    def make(rows, shift):
        return draw.normal(size=(rows, 4)) @ mix + 0.01 * draw.normal(size=(rows, 9)) + shift

    train, val = make(70, 9.0), make(31, 9.1)
    train[:, 5] = val[:, 5] = 3.0
    return train.astype(np.float32), val.astype(np.float32)


@pytest.mark.parametrize("block", [1, 7, 70])
def test_blocks_give_mean_and_products_of_the_whole(sides, block):
    found = scatter(sides[0], block)
    x = sides[0].astype(float)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.products, (x - x.mean(0)).T @ (x - x.mean(0)), atol=1e-9)
    np.testing.assert_allclose(found.squares, ((x - x.mean(0)) ** 2).sum(0), atol=1e-9)


def test_errors_of_every_width_are_those_of_scikit_learn(sides):
    train, val = (side.astype(float) for side in sides)
    errors = PCA.fit(scatter(train, 16)).errors(scatter(val, 10))
    for width in range(1, 10):
        other = SklearnPCA(width, svd_solver="full").fit(train)
        rebuilt = other.inverse_transform(other.transform(val))
        assert errors[width] == pytest.approx(((val - rebuilt) ** 2).sum(), rel=1e-6, abs=1e-9)
    assert errors[0] == pytest.approx(((val - train.mean(0)) ** 2).sum(), rel=1e-9)


def test_scores_are_those_of_scikit_learn_but_for_their_signs(sides):
    train, val = (side.astype(float) for side in sides)
    found = PCA.fit(scatter(train, 16)).scores(val, 3)
    np.testing.assert_allclose(np.abs(found), np.abs(SklearnPCA(3).fit(train).transform(val)), atol=1e-9)


def test_few_rows_give_few_components(sides):
    pca = PCA.fit(scatter(sides[0][:4], 4))
    assert pca.components.shape == (3, 9)
    assert len(pca.errors(scatter(sides[1], 31))) == 4
    np.testing.assert_allclose(pca.components @ pca.components.T, np.eye(3), atol=1e-12)
