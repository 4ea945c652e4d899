"""The probes match their definitions and find known classes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from resvae_ray.evaluation import probe
from resvae_ray.evaluation.probe import RATIOS, linear_probe, nonlinear_probe, recall

CODES = np.repeat([0, 1, 2], [60, 40, 20])
BOTH = pytest.mark.parametrize("method", [linear_probe, nonlinear_probe])


@pytest.fixture(autouse=True)
def one_repeat(monkeypatch):
    monkeypatch.setattr(probe, "MOST_REPEATS", 1)


def clouds(distance, seed=0):
    """Three clouds about centres so far apart; every second row is one to learn from, the others are held out."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(120, 4)) * [1, 1, 100, 1]
    x += distance * np.random.default_rng(9).normal(size=(3, 4))[CODES]
    return x[::2], CODES[::2], x[1::2], CODES[1::2]


@BOTH
def test_classes_far_apart_are_read_off_and_mixed_ones_are_not(method):
    fit, codes, test, true = clouds(1000.0)
    assert recall(true, method(fit, codes, test, 0).predicted) == 1.0
    fit, codes, test, true = clouds(0.0)
    assert recall(true, method(fit, codes, test, 0).predicted) < 0.6


def test_a_ring_is_read_off_by_the_non_linear_probe_alone():
    draw = np.random.default_rng(0)
    codes = np.arange(300) % 2
    x = draw.normal(size=(300, 2))
    x *= ((1 + 2 * codes) / np.linalg.norm(x, axis=1))[:, None]
    linear, curved = (method(x[:200], codes[:200], x[200:], 0).predicted for method in (linear_probe, nonlinear_probe))
    assert recall(codes[200:], linear) < 0.7
    assert recall(codes[200:], curved) > 0.95


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_the_solver_finds_what_scikit_learn_finds(strength):
    draw = np.random.default_rng(0)
    x = (draw.normal(size=(90, 6)) + draw.normal(size=(3, 6))[np.arange(90) % 3]) * np.geomspace(1, 0.01, 6)
    x -= x.mean(0)
    ours = probe._Logistic(x, np.arange(90) % 3)
    ours.fit(strength, 1e-9)
    theirs = LogisticRegression(C=strength, max_iter=5000, tol=1e-9).fit(x, np.arange(90) % 3)
    np.testing.assert_allclose(ours._weights[:-1].T, theirs.coef_, atol=1e-4 * np.abs(theirs.coef_).max())
    np.testing.assert_allclose(ours._weights[-1], theirs.intercept_, atol=1e-3)
    assert ours.converged


def test_a_solver_that_gave_up_is_reported(monkeypatch):
    monkeypatch.setattr(probe, "ITERATIONS", 1)
    fit, codes, test, _ = clouds(1.0)
    assert not linear_probe(fit, codes, test, 0).converged


def test_uncorrelated_columns_keep_products_and_drop_what_training_rows_do_not_span():
    draw = np.random.default_rng(0)
    for rows, width in ((30, 8), (8, 30)):
        fit, test = draw.normal(size=(rows, width)), draw.normal(size=(5, width))
        turned, other = probe._turned(fit, test)
        assert turned.shape[1] == min(rows, width)
        np.testing.assert_allclose(turned @ turned.T, fit @ fit.T, atol=1e-9)
        np.testing.assert_allclose(other @ turned.T, test @ fit.T, atol=1e-9)


@BOTH
def test_the_unit_of_the_columns_does_not_matter(method):
    fit, codes, test, _ = clouds(2.0)
    first, other = method(fit, codes, test, 0), method(1e4 * fit + 3, codes, 1e4 * test + 3, 0)
    np.testing.assert_array_equal(first.predicted, other.predicted)
    assert (first.scaling, first.strength) == (other.scaling, other.strength)


def test_where_the_class_is_in_a_large_column_among_small_noise_ratios_are_kept():
    draw = np.random.default_rng(0)
    x = np.column_stack([CODES + draw.normal(0, 0.4, 120), draw.normal(0, 0.01, (120, 40))])
    found = linear_probe(x[::2], CODES[::2], x[1::2], 0)
    assert found.scaling == RATIOS
    assert recall(CODES[1::2], found.predicted) > 0.7


def test_where_the_class_is_in_a_small_column_it_is_heard():
    draw = np.random.default_rng(0)
    x = np.column_stack([draw.normal(0, 1000.0, (120, 3)), CODES + draw.normal(0, 0.2, 120)])
    assert recall(CODES[1::2], linear_probe(x[::2], CODES[::2], x[1::2], 0).predicted) > 0.9


def test_the_chosen_probe_does_not_always_predict_the_frequent_class():
    """Nine in ten rows are of one class. By likelihood the probe that never says the other would win."""
    draw = np.random.default_rng(1)
    codes = (np.arange(400) % 10 == 0).astype(int)
    x = draw.normal(size=(400, 20)) + 1.2 * codes[:, None] * (np.arange(20) == 0)
    found = linear_probe(x[:300], codes[:300], x[300:], 0)
    assert (found.predicted == 1).any()
    assert found.strength > min(min(strengths) for strengths in probe.STRENGTHS.values())


@BOTH
def test_held_out_rows_do_not_reach_the_choice_or_the_fit(method):
    fit, codes, test, _ = clouds(1.0)
    first = method(fit, codes, test, 0)
    other = method(fit, codes, np.concatenate([test[:7], 1e6 * test[7:]]), 0)
    np.testing.assert_array_equal(first.predicted[:7], other.predicted[:7])
    assert (first.scaling, first.strength, first.kernel_width) == (other.scaling, other.strength, other.kernel_width)


def test_many_rows_are_tuned_on_some_of_them_with_every_class(monkeypatch):
    monkeypatch.setattr(probe, "MOST_TUNED", 50)
    codes = np.concatenate([np.zeros(500, int), np.ones(500, int), np.full(5, 2)])
    rows = probe._tuning_rows(codes, 0)
    assert 50 <= len(rows) <= 53
    assert (np.bincount(codes[rows]) >= probe.FOLDS).all()
    np.testing.assert_array_equal(rows, probe._tuning_rows(codes, 0))


def test_recall_is_balanced_accuracy():
    said = np.random.default_rng(0).integers(0, 3, len(CODES))
    assert recall(CODES, said) == pytest.approx(balanced_accuracy_score(CODES, said))
