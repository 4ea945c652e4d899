"""The rows that the probes use: training rows to learn from and validation rows to be judged on."""

from dataclasses import dataclass

import numpy as np

from resvae_ray.data.features import Features
from resvae_ray.data.schema import as_text
from resvae_ray.seeds import PROBE_ROWS, derive

UNLABELLED = -1
FEWEST = 5  # training rows of a class, from which it can be learned and its probe be tuned
FIT, TEST, TRUST, LANDMARKS, TUNING = range(5)  # what rows are drawn for


@dataclass(frozen=True)
class LabelledRows:
    """The rows of one side that the probes get.

    Attributes:
        positions: among the rows of that side, ascending (n).
        codes: their classes as numbers (n).
        of: rows of that side that could have been drawn.
    """

    positions: np.ndarray
    codes: np.ndarray
    of: int


@dataclass(frozen=True)
class ProbedRows:
    """
    Attributes:
        fit: training rows, from which the probes learn.
        test: validation rows, on which they are judged.
        unlabelled: rows of both sides without a label.
        dropped_classes, dropped_rows: classes with fewer than FEWEST training rows, and their rows of both sides.
    """

    fit: LabelledRows
    test: LabelledRows
    unlabelled: int
    dropped_classes: int
    dropped_rows: int

    @property
    def classes(self) -> int:
        """Their number among the validation rows."""
        return len(np.unique(self.test.codes))


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
    """At most `most` labelled rows of each side, drawn by `seed`, of classes with FEWEST of the training rows drawn.

    Args:
        train, val: classes of the rows of each side, see `label_codes`.
    """
    labelled = [np.flatnonzero(codes != UNLABELLED) for codes in (train, val)]
    drawn = labelled[0][draw(len(labelled[0]), most, seed, FIT)]
    counts = np.bincount(train[drawn], minlength=1 + max(train.max(initial=0), val.max(initial=0)))
    known = counts >= FEWEST
    kept = [rows[known[codes[rows]]] for rows, codes in zip(labelled, (train, val), strict=True)]
    fit = drawn[known[train[drawn]]]
    test = kept[1][draw(len(kept[1]), most, seed, TEST)]
    every = np.concatenate([train[labelled[0]], val[labelled[1]]])
    return ProbedRows(
        fit=LabelledRows(fit, train[fit], len(kept[0])),
        test=LabelledRows(test, val[test], len(kept[1])),
        unlabelled=len(train) + len(val) - len(every),
        dropped_classes=len(np.unique(every[~known[every]])),
        dropped_rows=int((~known[every]).sum()),
    )


def draw(rows: int, most: int, seed: int, what: int) -> np.ndarray:
    """Positions of at most `most` of the rows, ascending."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(derive(PROBE_ROWS, seed, what)).choice(rows, most, replace=False))
