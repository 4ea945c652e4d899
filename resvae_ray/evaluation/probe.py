"""Linear and non-linear probes: how well a representation predicts labels.

The linear probe is a logistic regression (Alain & Bengio 2016, arXiv:1610.01644), the non-linear one a logistic
regression on Gaussian kernels of the rows (Nyström, Williams & Seeger 2000). Both learn from training rows alone. How
columns are scaled, how strong the regularisation and how wide a kernel is are chosen by repeated folds of the training
rows, from the same candidates for every representation: standardised columns suit latents, which all have about the
same spread, and one scale for all columns suits amounts of one quantity, such as principal components.

The choice is by balanced accuracy, the mean recall of the classes: by the likelihood, the choice for unequal classes is
the probe that predicts the most frequent one.

A probe is fitted some hundred times. scikit-learn's LogisticRegression minimises the same loss and takes many times as
long: it checks its input on every call and cannot use that the columns here are uncorrelated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resvae_ray.evaluation.labelled_rows import LANDMARKS, TUNING, draw
from resvae_ray.seeds import PROBE_ROWS, derive

FOLDS = 3  # of the training rows, in which a probe is tuned
ROWS_TUNED = 500  # rows judged in all folds together, at least: the fewer rows, the more often they are split anew
MOST_REPEATS = 3
MOST_TUNED = 1000  # training rows in which a probe is tuned, at most; it is fitted on all
ITERATIONS = 1000  # of the solver at most
TOLERANCE, TUNING_TOLERANCE = 1e-4, 1e-3  # of the mean loss's gradient, at which it ends: on all rows, in folds
STANDARD, RATIOS = "standardised", "one scale"
STRENGTHS = {STANDARD: (0.01, 0.1, 1.0, 10.0), RATIOS: (1.0, 10.0, 100.0)}  # inverse, linear probe
KERNEL_STRENGTHS = (1.0, 10.0, 100.0)  # inverse, non-linear probe
KERNEL_WIDTHS = (0.25, 1.0)  # factors of the inverse median squared distance
KERNEL_ROWS = 256  # training rows whose kernels are the columns of the non-linear probe, at most
LEAST_SHARE = 1e-12  # of the largest variance, that a direction of the columns has to have: below it is rounding


@dataclass(frozen=True)
class Probed:
    """
    Attributes:
        predicted: classes of the rows that it has not learned from (n).
        scaling: of the columns, "standardised" or "one scale".
        strength: inverse, of the regularisation.
        kernel_width: factor of the inverse median squared distance; None for the linear probe.
        converged: whether the solver came to an end.
    """

    predicted: np.ndarray
    scaling: str
    strength: float
    kernel_width: float | None
    converged: bool


@dataclass(frozen=True)
class _Candidate:
    """Columns of both sides, (m, W) and (n, W), and strengths to try on them, the strongest regularisation first."""

    fit: np.ndarray
    test: np.ndarray
    scaling: str
    strengths: Sequence[float]
    kernel_width: float | None = None


def linear_probe(fit: np.ndarray, codes: np.ndarray, test: np.ndarray, seed: int) -> Probed:
    """Learns the classes `codes` (m) from `fit` (m, width) and predicts those of `test` (n, width).

    Args:
        codes: each class at least FOLDS times, and at least two of them.
        seed: of the folds.
    """
    candidates = [
        _Candidate(*_turned(*_scaled(fit, test, scaling)), scaling, strengths)
        for scaling, strengths in STRENGTHS.items()
    ]
    return _tuned(candidates, codes, seed)


def nonlinear_probe(fit: np.ndarray, codes: np.ndarray, test: np.ndarray, seed: int) -> Probed:
    """Like `linear_probe`, on Gaussian kernels between the rows and KERNEL_ROWS training rows."""
    landmarks = draw(len(fit), KERNEL_ROWS, seed, LANDMARKS)
    candidates = [
        _Candidate(
            *_turned(*_kernels(*_scaled(fit, test, scaling), landmarks, width)), scaling, KERNEL_STRENGTHS, width
        )
        for scaling in STRENGTHS
        for width in KERNEL_WIDTHS
    ]
    return _tuned(candidates, codes, seed)


def _tuned(candidates: Sequence[_Candidate], codes: np.ndarray, seed: int) -> Probed:
    """The best candidate by the balanced accuracy in the folds, the first of equal ones, fitted on all rows."""
    rows = _tuning_rows(codes, seed)
    folds = _folds(codes[rows], seed)
    tried = [
        (score, candidate, strength)
        for candidate in candidates
        for strength, score in zip(candidate.strengths, _scores(candidate, codes, rows, folds), strict=True)
    ]
    _, best, strength = max(tried, key=lambda one: one[0])
    model = _Logistic(best.fit, codes)
    model.fit(strength)
    return Probed(model.predict(best.test), best.scaling, strength, best.kernel_width, model.converged)


def _tuning_rows(codes: np.ndarray, seed: int) -> np.ndarray:
    """All rows, or MOST_TUNED of them with FOLDS of each class at least."""
    if len(codes) <= MOST_TUNED:
        return np.arange(len(codes))
    order = np.random.default_rng(derive(PROBE_ROWS, seed, TUNING)).permutation(len(codes))
    firsts = [order[codes[order] == code][:FOLDS] for code in np.unique(codes)]
    return np.sort(np.unique(np.concatenate([*firsts, order[:MOST_TUNED]])))


def _folds(codes: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and rows held out, FOLDS at a time."""
    from sklearn.model_selection import RepeatedStratifiedKFold

    repeats = int(np.clip(np.ceil(ROWS_TUNED / len(codes)), 1, MOST_REPEATS))
    return list(RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=seed).split(codes, codes))


def _scores(
    candidate: _Candidate, codes: np.ndarray, rows: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Balanced accuracy in the folds by strength, a mean over the repeats; each row is held out once per repeat."""
    x, codes = candidate.fit[rows], codes[rows]
    predicted = np.empty((len(candidate.strengths), len(folds) // FOLDS, len(codes)), codes.dtype)
    for number, (learned, held) in enumerate(folds):
        model = _Logistic(x[learned], codes[learned])
        for place, strength in enumerate(candidate.strengths):
            model.fit(strength, TUNING_TOLERANCE)
            predicted[place, number // FOLDS, held] = model.predict(x[held])
    return np.array([np.mean([recall(codes, repeat) for repeat in repeats]) for repeats in predicted])


def recall(codes: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall of the classes `codes` (n): their balanced accuracy."""
    return float(np.mean([(predicted[codes == code] == code).mean() for code in np.unique(codes)]))


class _Logistic:
    """Logistic regression of several classes with a penalty on squared weights, but not on the intercepts.

    The solver sees each column divided by the root of the loss's curvature along it. Where columns are uncorrelated,
    as here, it ends after tens of steps instead of hundreds.

    Args:
        x: columns (n, W), nearly uncorrelated.
        codes: classes (n).

    Attributes:
        converged: whether the last fit came to an end.
    """

    def __init__(self, x: np.ndarray, codes: np.ndarray) -> None:
        self._x, self._classes = x, np.unique(codes)
        self._true = (codes[:, None] == self._classes).astype(np.float64)
        self._curvature = x.var(0) * (len(self._classes) - 1) / len(self._classes) ** 2
        self._weights = np.zeros((x.shape[1] + 1, len(self._classes)))  # the intercepts in the last row
        self.converged = False

    def fit(self, strength: float, tolerance: float = TOLERANCE) -> None:
        """Minimises strength times the summed loss plus half the squared weights, from where the last fit ended."""
        from scipy.optimize import minimize

        penalty = 1 / (strength * len(self._x))
        scale = np.append(1 / np.sqrt(self._curvature + penalty), 1.0)[:, None]
        penalties = penalty * scale[:-1] ** 2
        arguments = (self._x * scale[:-1, 0], self._true, penalties)
        options = {"maxiter": ITERATIONS, "gtol": tolerance}
        start = (self._weights / scale).ravel()
        found = minimize(_loss, start, arguments, method="L-BFGS-B", jac=True, options=options)
        self._weights, self.converged = found.x.reshape(self._weights.shape) * scale, bool(found.success)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, W) to the most probable classes (n)."""
        return self._classes[(x @ self._weights[:-1] + self._weights[-1]).argmax(1)]


def _loss(flat: np.ndarray, x: np.ndarray, true: np.ndarray, penalties: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean loss of weights ((W + 1) * K) with the penalties (W, 1), and its gradient.

    Args:
        x: columns (n, W).
        true: 1 at a row's class, otherwise 0 (n, K).
    """
    weights = flat.reshape(x.shape[1] + 1, -1)
    logits = x @ weights[:-1] + weights[-1]
    logits -= logits.max(1, keepdims=True)
    exponentials = np.exp(logits)
    sums = exponentials.sum(1, keepdims=True)
    loss = (np.log(sums).sum() - (logits * true).sum()) / len(x)
    slopes = (exponentials / sums - true) / len(x)
    pulls = penalties * weights[:-1]
    gradient = np.concatenate([x.T @ slopes + pulls, slopes.sum(0)[None]])
    return loss + 0.5 * float((pulls * weights[:-1]).sum()), gradient.ravel()


def _scaled(fit: np.ndarray, test: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """Both sides by mean and spread of the training rows; a column that does not vary there is 0."""
    fit, test = fit.astype(np.float64), test.astype(np.float64)
    mean, spread = fit.mean(0), fit.std(0)
    constant = spread <= np.abs(mean) * np.finfo(np.float32).eps
    scale = np.where(constant, np.inf, spread if scaling == STANDARD else spread.max())
    return (fit - mean) / scale, (test - mean) / scale


def _turned(fit: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides in uncorrelated columns, as many as the training rows have dimensions.

    A penalty on squared weights is the same in any orthonormal basis, and leaves directions without training rows at 0.
    """
    products = fit @ fit.T if len(fit) < fit.shape[1] else fit.T @ fit
    variances, vectors = np.linalg.eigh(products)
    kept = variances > LEAST_SHARE * variances[-1]
    if not kept.any():
        return fit, test
    basis = vectors[:, kept]
    if len(fit) < fit.shape[1]:
        basis = fit.T @ basis / np.sqrt(variances[kept])
    return fit @ basis, test @ basis


def _kernels(fit: np.ndarray, test: np.ndarray, landmarks: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """(m, L) and (n, L): columns whose products are Gaussian kernels of the rows, by the rows `landmarks` of `fit`."""
    centres = fit[landmarks]
    among = _squared_distances(centres, centres)
    scale = np.median(among[np.triu_indices(len(centres), 1)]) or 1.0
    variances, vectors = np.linalg.eigh(np.exp(-width * among / scale))
    kept = variances > 1e-10 * variances[-1]
    root = vectors[:, kept] / np.sqrt(variances[kept])
    fit, test = (np.exp(-width * _squared_distances(x, centres) / scale) @ root for x in (fit, test))
    mean = fit.mean(0)
    return fit - mean, test - mean


def _squared_distances(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(n, W) and (L, W) to (n, L)."""
    squares = (x**2).sum(1)[:, None] + (centres**2).sum(1)[None] - 2 * x @ centres.T
    return np.maximum(squares, 0.0)
