import numpy as np
import pytest
from scipy.optimize import minimize

from resvae_ray.data.checking.spectrum import components_for, linear_r2, sufficient_beta, usable_latents


def best_linear_vae(variance, beta):
    """The least loss of one feature with one latent, its squared error and KLD: x to N(m x, s), decoded by w."""

    def parts(free):
        m, w, log_s = free
        error = (1 - w * m) ** 2 * variance + w**2 * np.exp(log_s)
        return error, (m**2 * variance + np.exp(log_s) - 1 - log_s) / 2

    starts = [(1 / np.sqrt(variance), np.sqrt(variance), -1.0), (0.1, 0.1, 0.0)]
    fits = [minimize(lambda free: beta * parts(free)[0] + parts(free)[1], start, tol=1e-12) for start in starts]
    return min((fit.fun, *parts(fit.x)) for fit in fits)


@pytest.mark.parametrize("r", [0.3, 0.9, 1.5, 4.0, 50.0])
def test_a_component_is_carried_if_beta_times_its_variance_exceeds_a_half(r):
    beta = 20.0
    variance = r / (2 * beta)
    loss, error, kld = best_linear_vae(variance, beta)
    assert usable_latents(np.array([variance]), beta) == (r > 1)
    assert loss == pytest.approx(min(r / 2, (1 + np.log(r)) / 2 if r > 1 else r / 2), rel=1e-4)
    assert 1 - error / variance == pytest.approx(linear_r2(np.array([variance]), beta), abs=1e-3)
    assert kld == pytest.approx(np.log(r) / 2 if r > 1 else 0, abs=1e-3)


def test_components():
    eigenvalues = np.array([5.0, 2.0, 2.0, 1.0])
    assert [components_for(eigenvalues, share) for share in (0.4, 0.5, 0.6, 0.9, 0.95, 1)] == [1, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("r2", [0.3, 0.6, 0.9])
def test_the_sufficient_beta_is_the_smallest(r2):
    eigenvalues = np.sort(np.random.default_rng(0).exponential(1e-4, 50) ** 1.5)[::-1]
    beta = sufficient_beta(eigenvalues, r2)
    assert linear_r2(eigenvalues, beta) >= r2
    assert linear_r2(eigenvalues, 0.89 * beta) < r2
    assert float(f"{beta:.1e}") == pytest.approx(beta)
