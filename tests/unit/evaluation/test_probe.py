"""The scores, against what they are defined as."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef
from sklearn.model_selection import StratifiedKFold

from resvae_ray.evaluation.probe import NEIGHBOURS, probe, trust

CODES = np.repeat([0, 1, 2], [30, 20, 10])


def clouds(distance, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(60, 4)) * [1, 1, 100, 1] + distance * draw.normal(size=(3, 4))[CODES]


def test_classes_far_apart_are_read_off_and_mixed_ones_are_not():
    found = probe(clouds(1000.0), CODES, 0)
    assert (found.mcc, found.mcc_sd, found.balanced_accuracy, found.knn_agreement) == (1.0, 0.0, 1.0, 1.0)
    assert found.silhouette > 0.8
    found = probe(clouds(0.0), CODES, 0)
    assert abs(found.mcc) < 0.3
    assert found.silhouette < 0.1
    assert found.knn_agreement == pytest.approx(((30 / 60) ** 2 + (20 / 60) ** 2 + (10 / 60) ** 2), abs=0.1)


def test_the_probe_is_fitted_and_scaled_inside_each_fold():
    x, scores, balanced = clouds(1.0), [], []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=3).split(x, CODES):
        mean, spread = x[train].mean(0), x[train].std(0)
        model = LogisticRegression(max_iter=2000).fit((x[train] - mean) / spread, CODES[train])
        predicted = model.predict((x[test] - mean) / spread)
        scores.append(matthews_corrcoef(CODES[test], predicted))
        balanced.append(balanced_accuracy_score(CODES[test], predicted))
    found = probe(x, CODES, 3)
    assert found.mcc_folds == pytest.approx(scores)
    assert (found.mcc, found.mcc_sd) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))
    assert (found.balanced_accuracy, found.balanced_accuracy_sd) == pytest.approx(
        (np.mean(balanced), np.std(balanced, ddof=1))
    )
    assert found.converged


def test_amounts_keep_their_ratios_in_the_probe():
    """Class in a large column, noise in many small ones: standardised, these would count as much."""
    draw = np.random.default_rng(0)
    x = np.column_stack([CODES + draw.normal(0, 0.4, 60), draw.normal(0, 0.01, (60, 40))])
    as_amounts, standardised = probe(x, CODES, 0, amounts=True), probe(x, CODES, 0)
    assert as_amounts.mcc > standardised.mcc + 0.1
    assert as_amounts.mcc == pytest.approx(probe(1e4 * x, CODES, 0, amounts=True).mcc), "their unit does not matter"
    assert as_amounts.knn_agreement == standardised.knn_agreement


def test_amounts_whose_small_columns_tell_the_classes_are_heard():
    draw = np.random.default_rng(0)
    x = np.column_stack([draw.normal(0, 1000.0, (60, 3)), CODES + draw.normal(0, 0.2, 60)])
    assert probe(x, CODES, 0, amounts=True).mcc > 0.9


def test_a_class_in_every_fold_once_can_be_probed_by_amounts():
    codes = np.repeat([0, 1, 2], [30, 25, 5])
    assert probe(clouds(1000.0)[:60], codes, 0, amounts=True).mcc_folds


def test_neighbours_leave_the_row_itself_out():
    x = clouds(1.0)
    distances = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, 1)[:, :NEIGHBOURS]
    assert probe(x, CODES, 0).knn_agreement == pytest.approx((CODES[nearest] == CODES[:, None]).mean())


def test_a_map_is_trusted_as_far_as_it_keeps_neighbours():
    x = clouds(1.0)
    assert trust(x, x * 3 + 1) == 1.0
    assert trust(x, np.random.default_rng(1).normal(size=(60, 2))) < 0.75
    assert trust(x[:10], x[:10]) is None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_solver_that_gave_up_is_told(monkeypatch):
    monkeypatch.setattr("resvae_ray.evaluation.probe.ITERATIONS", 1)
    assert not probe(clouds(1.0), CODES, 0).converged
