"""How well labels can be read off a representation, and how well it keeps neighbourhoods; scikit-learn does the work.

The linear probe is a logistic regression on standardised columns, the scaler fitted inside each fold (Alain & Bengio
2016, arXiv:1610.01644). Its MCC in five stratified folds is the score by which the method's authors judge latents.
Columns that are amounts of one quantity, such as principal components, can keep their ratios: standardised, the
smallest would count as much as the largest. Each fold chooses from its training rows whether they do, and how strong
the regularisation is. Neighbours are Euclidean, on the columns as they are.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from resvae_ray.data.features import Features
from resvae_ray.data.schema import as_text
from resvae_ray.names import TRAIN, VAL
from resvae_ray.seeds import PROBE_ROWS, derive

UNLABELLED = -1
FOLDS = 5  # of the cross-validation; a class with fewer rows cannot be in each of them
ENOUGH = 25  # validation rows of a class, 5 a fold, that make training rows unnecessary


@dataclass(frozen=True)
class ProbedRows:
    """The rows that are probed.

    Attributes:
        sides: the side or sides of the DATASET they come from.
        reason: why not other ones.
        positions: of the rows among those of `sides`, ascending (n).
        codes: their classes as numbers (n).
        of: labelled rows of `sides`, from which they were drawn.
        unlabelled: rows of `sides` without a label.
        dropped_classes, dropped_rows: classes with fewer than FOLDS rows among those drawn, and their rows.
    """

    sides: tuple[str, ...]
    reason: str
    positions: np.ndarray
    codes: np.ndarray
    of: int
    unlabelled: int
    dropped_classes: int
    dropped_rows: int

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(np.unique(self.codes))


def label_codes(features: Features, known: dict[str, int]) -> np.ndarray:
    """The labels as numbers (n); -1 where it is missing or empty.

    Args:
        known: the number of each label; new ones are added.
    """
    column = features.layout.label
    if column is None:
        return np.full(features.rows, UNLABELLED)
    codes = [np.empty(0, np.int64)]
    for table in features.columns([column]):
        encoded = as_text(table.column(0), f"{features.path}: column {column}").dictionary_encode()
        numbers = [
            known.setdefault(text, len(known)) if text else UNLABELLED for text in encoded.dictionary.to_pylist()
        ]
        lookup = np.array([*numbers, UNLABELLED])
        codes.append(lookup[encoded.indices.fill_null(len(numbers)).to_numpy()])
    return np.concatenate(codes)


def choose_rows(train: np.ndarray, val: np.ndarray, most: int, seed: int) -> ProbedRows:
    """The validation rows where they suffice, else all; at most `most`, drawn by `seed`; small classes dropped.

    Args:
        train, val: classes of the rows of each side, see `label_codes`.
    """
    sides, reason = _sides(train, val)
    pool = val if sides == (VAL,) else np.concatenate([train, val])
    labelled = np.flatnonzero(pool != UNLABELLED)
    drawn = draw(len(labelled), most, seed)
    positions = labelled[drawn]
    codes = pool[positions]
    counts = np.bincount(codes) if len(codes) else np.zeros(0, np.int64)
    keep = counts[codes] >= FOLDS
    return ProbedRows(
        sides=sides,
        reason=reason,
        positions=positions[keep],
        codes=codes[keep],
        of=len(labelled),
        unlabelled=len(pool) - len(labelled),
        dropped_classes=len(np.unique(pool[labelled])) - int((counts >= FOLDS).sum()),
        dropped_rows=int((~keep).sum()),
    )


def draw(rows: int, most: int, seed: int) -> np.ndarray:
    """Positions of at most `most` of the rows, ascending."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(derive(PROBE_ROWS, seed)).choice(rows, most, replace=False))


def _sides(train: np.ndarray, val: np.ndarray) -> tuple[tuple[str, ...], str]:
    every = np.concatenate([train, val])
    classes = np.bincount(every[every != UNLABELLED], minlength=1)
    fewest = np.bincount(val[val != UNLABELLED], minlength=len(classes))[classes >= FOLDS].min(initial=ENOUGH)
    if fewest >= ENOUGH:
        return (VAL,), f"each class has at least {ENOUGH} of them"
    return (TRAIN, VAL), (
        f"a class has only {fewest} among the validation rows and {ENOUGH} are wanted; of the training rows the "
        "encoder has seen the features, never the labels"
    )


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
