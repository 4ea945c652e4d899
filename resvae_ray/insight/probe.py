"""How well labels can be read off a representation, and how well it keeps neighbourhoods; scikit-learn does the work.

The linear probe is a logistic regression on standardised columns, the scaler fitted inside each fold (Alain & Bengio
2016, arXiv:1610.01644); its MCC in five stratified folds is what the method's authors judge latents by. Columns that
are amounts of one thing, as principal components are, keep their ratios: standardised, the smallest would count as much
as the largest. Whether that is better, and how strong the regularisation is if not, each fold chooses from its training
rows: on one scale it decides how far small columns are heard. Neighbours are Euclidean, of the columns as they stand.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from resvae_ray.insight.labels import FOLDS

NEIGHBOURS = 5
INNER_FOLDS = 3  # a class has FOLDS - 1 rows at least in what a fold is trained on
ITERATIONS = 2000  # of the probe's solver at most
STRENGTHS = (1.0, 10.0, 100.0)  # inverse, of the regularisation; 1 where columns are standardised
SCALER, PROBE = "scaler", "probe"


@dataclass(frozen=True)
class ProbeScores:
    """What one representation tells of the labels.

    Attributes:
        mcc, mcc_sd: Matthews correlation of the linear probe, mean and standard deviation over the folds.
        mcc_folds: by fold; the folds are the same for every representation.
        balanced_accuracy, balanced_accuracy_sd: likewise, mean recall of the classes.
        knn_agreement: share of a row's NEIGHBOURS nearest other rows that have its label, mean over the rows.
        silhouette: mean silhouette of the classes (Rousseeuw 1987), from -1 to 1.
        converged: whether the probe's solver came to an end in every fold.
    """

    mcc: float
    mcc_sd: float
    mcc_folds: tuple[float, ...]
    balanced_accuracy: float
    balanced_accuracy_sd: float
    knn_agreement: float
    silhouette: float
    converged: bool


def probe(x: np.ndarray, codes: np.ndarray, seed: int, amounts: bool = False) -> ProbeScores:
    """Scores of a representation (n, width) of rows with the classes `codes` (n), each at least FOLDS times.

    Args:
        seed: of the folds.
        amounts: its columns are amounts of one thing, which the probe brings to one scale together.
    """
    from sklearn.metrics import silhouette_score

    x = x.astype(np.float64)
    mcc, balanced, converged = _linear(x, codes, seed, amounts)
    return ProbeScores(
        mcc=float(mcc.mean()),
        mcc_sd=float(mcc.std(ddof=1)),
        mcc_folds=tuple(mcc.tolist()),
        balanced_accuracy=float(balanced.mean()),
        balanced_accuracy_sd=float(balanced.std(ddof=1)),
        knn_agreement=_agreement(x, codes),
        silhouette=float(silhouette_score(x, codes)),
        converged=converged,
    )


def trust(x: np.ndarray, z: np.ndarray) -> float | None:
    """Trustworthiness of `z` (n, width) as a map of `x` (n, D) (Venna & Kaski 2001); None for too few rows.

    Below 1 where rows are near in `z` that are not among the NEIGHBOURS nearest in `x`.
    """
    from sklearn.manifold import trustworthiness

    if len(x) <= 2 * NEIGHBOURS:
        return None
    return float(trustworthiness(x.astype(np.float64), z.astype(np.float64), n_neighbors=NEIGHBOURS))


def _linear(x: np.ndarray, codes: np.ndarray, seed: int, amounts: bool) -> tuple[np.ndarray, np.ndarray, bool]:
    """MCC and balanced accuracy by fold, and whether the solver came to an end."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    model = Pipeline([(SCALER, StandardScaler()), (PROBE, LogisticRegression(max_iter=ITERATIONS))])
    if amounts:
        x = x / (x.std(0).max() or 1.0)  # one number of all rows; it tells nothing of their classes
        ways = [{}, {SCALER: ["passthrough"], f"{PROBE}__C": STRENGTHS}]  # as it is, and on one scale
        model = GridSearchCV(
            model,
            ways,
            scoring="neg_log_loss",
            cv=INNER_FOLDS,
            error_score="raise",  # pyright: ignore[reportArgumentType]
        )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        scores = cross_validate(
            model,
            x,
            codes,
            cv=folds,
            scoring=("matthews_corrcoef", "balanced_accuracy"),
            error_score="raise",  # pyright: ignore[reportArgumentType]
        )
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return scores["test_matthews_corrcoef"], scores["test_balanced_accuracy"], converged


def _agreement(x: np.ndarray, codes: np.ndarray) -> float:
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(x).kneighbors(return_distance=False)
    return float((codes[neighbours] == codes[:, None]).mean())
