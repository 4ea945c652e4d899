"""Which labelled rows a probe gets, and why those."""

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
