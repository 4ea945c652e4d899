"""Scores of the representations by the labels of the validation rows, and the differences between them.

The probes, and the rows among which neighbours are looked for, are training rows; a training row is never judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from resvae_ray.evaluation.intervals import Difference, Samples
from resvae_ray.evaluation.labelled_rows import ProbedRows
from resvae_ray.evaluation.neighbours import NEIGHBOURS, agreement
from resvae_ray.evaluation.probe import FOLDS, Probed, linear_probe, nonlinear_probe, recall
from resvae_ray.evaluation.representations import pairs_of

LINEAR, NONLINEAR, AGREEMENT = "linear_mcc", "nonlinear_mcc", "neighbour_agreement"


@dataclass(frozen=True)
class ProbeScore:
    """A probe on the validation rows.

    Attributes:
        mcc: Matthews correlation.
        balanced_accuracy: mean recall of the classes.
        scaling: of the columns, "standardised" or "one scale"; chosen, like those below, on the training rows.
        strength: inverse, of the regularisation.
        kernel_width: factor of the inverse median squared distance; None for the linear probe.
        converged: whether the solver came to an end.
    """

    mcc: float
    balanced_accuracy: float
    scaling: str
    strength: float
    kernel_width: float | None
    converged: bool


@dataclass(frozen=True)
class RepresentationScores:
    """Scores of one representation by the labels of the validation rows.

    Attributes:
        linear, nonlinear: the probes.
        neighbour_agreement: share of the nearest training rows that have a validation row's label, a mean over these.
        silhouette: mean silhouette of the classes (Rousseeuw 1987), from -1 to 1; None if each row has its own.
    """

    linear: ProbeScore
    nonlinear: ProbeScore
    neighbour_agreement: float
    silhouette: float | None


@dataclass(frozen=True)
class LabelScores:
    """Scores of all representations by the labels.

    Attributes:
        train_rows: the probes learned from, of `train_of` in these classes.
        val_rows: they are judged on, of `val_of` in these classes.
        classes: among the validation rows.
        unlabelled: rows of both sides without a label.
        dropped_classes, dropped_rows: classes with too few training rows, and their rows of both sides, left out.
        tuning_folds: of the training rows, in which scaling and regularisation are chosen.
        neighbours: of `neighbour_agreement`.
        scores: by representation.
        differences: of pairs of representations, with intervals.
    """

    train_rows: int
    train_of: int
    val_rows: int
    val_of: int
    classes: int
    unlabelled: int
    dropped_classes: int
    dropped_rows: int
    tuning_folds: int
    neighbours: int
    scores: dict[str, RepresentationScores]
    differences: list[Difference]


def label_scores(
    fit: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray], rows: ProbedRows, seed: int
) -> LabelScores:
    """
    Args:
        fit, test: by representation, the training rows (m, width) and the validation rows (n, width) of `rows`.
        seed: of the folds and of the samples behind the intervals.
    """
    samples = Samples(len(rows.test.codes), seed)
    judged = {name: _Judged(fit[name], test[name], rows, samples, seed) for name in fit}
    return LabelScores(
        train_rows=len(rows.fit.codes),
        train_of=rows.fit.of,
        val_rows=len(rows.test.codes),
        val_of=rows.test.of,
        classes=rows.classes,
        unlabelled=rows.unlabelled,
        dropped_classes=rows.dropped_classes,
        dropped_rows=rows.dropped_rows,
        tuning_folds=FOLDS,
        neighbours=NEIGHBOURS,
        scores={name: one.scores for name, one in judged.items()},
        differences=[
            samples.difference(ours, theirs, measure, judged[ours].sampled[measure], judged[theirs].sampled[measure])
            for ours, theirs in pairs_of(judged)
            for measure in (LINEAR, NONLINEAR, AGREEMENT)
        ],
    )


class _Judged:
    """One representation.

    Attributes:
        scores: on the validation rows.
        sampled: by measure, the score on these and in each bootstrap sample of them (1 + SAMPLES).
    """

    def __init__(self, fit: np.ndarray, test: np.ndarray, rows: ProbedRows, samples: Samples, seed: int) -> None:
        codes = rows.test.codes
        linear, nonlinear = (probe(fit, rows.fit.codes, test, seed) for probe in (linear_probe, nonlinear_probe))
        agreeing = agreement(fit, rows.fit.codes, test, codes)
        self.sampled = {
            LINEAR: matthews(samples, codes, linear.predicted),
            NONLINEAR: matthews(samples, codes, nonlinear.predicted),
            AGREEMENT: samples.means(agreeing),
        }
        self.scores = RepresentationScores(
            linear=_score(linear, codes, self.sampled[LINEAR]),
            nonlinear=_score(nonlinear, codes, self.sampled[NONLINEAR]),
            neighbour_agreement=float(agreeing.mean()),
            silhouette=_silhouette(test, codes),
        )


def _score(probed: Probed, codes: np.ndarray, sampled: np.ndarray) -> ProbeScore:
    return ProbeScore(
        mcc=float(sampled[0]),
        balanced_accuracy=recall(codes, probed.predicted),
        scaling=probed.scaling,
        strength=probed.strength,
        kernel_width=probed.kernel_width,
        converged=probed.converged,
    )


def matthews(samples: Samples, codes: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Matthews correlation of the classes `codes` (n) with those `predicted` (n), by sample (1 + SAMPLES).

    Gorodkin's for several classes (2004); 0 where one of the two has a single class.
    """
    classes = np.unique(np.concatenate([codes, predicted]))
    true, said = ((some[:, None] == classes).astype(np.float32) for some in (codes, predicted))
    trues, saids = (np.float64(samples.weights @ table) for table in (true, said))
    correct = np.float64(samples.weights @ (codes == predicted).astype(np.float32))
    covariance = correct * samples.rows - (trues * saids).sum(1)
    spreads = [samples.rows**2 - (counts**2).sum(1) for counts in (trues, saids)]
    product = np.sqrt(spreads[0] * spreads[1])
    return np.divide(covariance, product, out=np.zeros_like(covariance), where=product > 0)


def _silhouette(x: np.ndarray, codes: np.ndarray) -> float | None:
    from sklearn.metrics import silhouette_score

    if len(np.unique(codes)) == len(codes):
        return None
    return float(silhouette_score(x.astype(np.float64), codes))
