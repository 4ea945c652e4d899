import numpy as np
import pytest
from sklearn.decomposition import PCA

from resvae_ray.data.moments import Covariance, Gram, Moments, RoundedCovariance, moments_for
from resvae_ray.errors import DataError


def gathered(matrix, sizes, moments=None):
    moments = moments or Covariance(matrix.shape[1])
    for part in np.split(matrix, np.cumsum(sizes)):
        moments.add(part)
    return moments


@pytest.mark.parametrize("sizes", [[], [1], [7, 0, 100], [150] * 3])
def test_they_are_numpys_and_scikit_learns(sizes):
    generator = np.random.default_rng(0)
    matrix = (generator.normal(size=(500, 8)) @ generator.normal(size=(8, 8)) + 3).astype(np.float32)
    moments = gathered(matrix, sizes)
    exact = matrix.astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, exact.var(0), rtol=1e-12)
    np.testing.assert_allclose(moments.eigenvalues(), PCA().fit(exact).explained_variance_ * 499 / 500, rtol=1e-9)
    assert (moments.low == matrix.min(0)).all()
    assert (moments.high == matrix.max(0)).all()


def test_large_means_and_rows_in_families_cancel_nothing():
    """The mean square less the squared mean would be off by 1e-6 of the variances here."""
    generator = np.random.default_rng(0)
    family = np.repeat([3000.0, 3001.0], 400)[:, None]
    matrix = (family + generator.normal(0, 1e-2, (800, 3))).astype(np.float32)
    moments, exact = gathered(matrix, [400]), matrix.astype(np.float64)
    np.testing.assert_allclose(moments.variance, exact.var(0), rtol=1e-12)
    # The default solver of scikit-learn's PCA does cancel here; its singular value decomposition does not.
    pca = PCA(svd_solver="full").fit(exact)
    np.testing.assert_allclose(moments.eigenvalues(), pca.explained_variance_ * 799 / 800, rtol=1e-9)


@pytest.mark.parametrize("factor", [1.0, 1e-25, 1e25])
def test_rounded_products_hide_no_small_component_behind_a_large_feature(factor):
    generator = np.random.default_rng(0)
    scales = np.array([1e3, *2.0 ** -np.arange(19)])
    matrix = ((generator.normal(size=(500, 20)) * scales + 7 * scales) * factor).astype(np.float32)
    sizes = [100, 0, 350]
    found, exact = gathered(matrix, sizes, RoundedCovariance(20)), gathered(matrix, sizes)
    np.testing.assert_allclose(found.variance, exact.variance, rtol=1e-12)
    np.testing.assert_allclose(found.eigenvalues(), exact.eigenvalues(), rtol=2e-5)


def test_rounded_products_of_equal_rows_are_zero():
    moments = gathered(np.full((9, 3), 2, np.float32), [4], RoundedCovariance(3))
    np.testing.assert_array_equal(moments.products, np.zeros((3, 3)))


@pytest.mark.parametrize("kind", [Moments, Covariance, RoundedCovariance, lambda dim: Gram(600, dim)])
def test_moments_of_parts_join(kind):
    generator = np.random.default_rng(0)
    matrix = (generator.normal(size=(500, 6)) + np.repeat([0, 40], 250)[:, None]).astype(np.float32)
    whole, parts = gathered(matrix, [], kind(6)), kind(6)
    for part in np.split(matrix, [0, 30, 250]):
        parts.join(gathered(part, [7], kind(6)) if len(part) else kind(6))
    assert parts.rows == 500
    for name in ("mean", "variance", "low", "high"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-10)
    if kind is not Moments:
        np.testing.assert_allclose(parts.eigenvalues(), whole.eigenvalues(), atol=1e-6 * whole.eigenvalues()[0])


@pytest.mark.parametrize("sizes", [[], [7, 0, 10]])
def test_fewer_rows_than_features_have_the_same_components(sizes, monkeypatch):
    monkeypatch.setattr("resvae_ray.data.moments.BLOCK_FEATURES", 7)
    generator = np.random.default_rng(0)
    matrix = (3000 + generator.normal(size=(30, 50))).astype(np.float32)
    found, known = gathered(matrix, sizes, Gram(40, 50)), gathered(matrix, sizes)
    np.testing.assert_array_equal(found.variance, known.variance)
    np.testing.assert_allclose(found.eigenvalues(), known.eigenvalues()[:30], rtol=1e-9, atol=1e-12)


def test_rows_that_are_too_wide_have_no_components():
    moments = gathered(np.eye(3, dtype=np.float32), [], Moments(3))
    assert moments.eigenvalues() is None
    with pytest.raises(DataError, match="3 features: too many for principal components"):
        moments.principal()


@pytest.mark.parametrize(
    ("rows", "dim", "kind"),
    [
        (100, 1280, Gram),
        (10**6, 1280, Covariance),
        (8192, 51200, Gram),
        (8193, 51200, Moments),
        (10**6, 12800, Moments),
    ],
)
def test_no_matrix_is_too_large(rows, dim, kind, monkeypatch):
    monkeypatch.setattr(np, "zeros", lambda shape: np.broadcast_to(0.0, shape))
    assert type(moments_for(rows, dim)) is kind
