"""DATASET: the training and the validation rows of a search, with the rule that parted them and a fingerprint."""

from dataclasses import dataclass, field
from typing import Any

from resvae_ray.data.features import Features
from resvae_ray.errors import DataError
from resvae_ray.names import DATASET_FILE, TRAIN, VAL
from resvae_ray.remote import Place, place
from resvae_ray.storage import read_json


@dataclass(frozen=True)
class Dataset:
    """A DATASET on disk.

    Attributes:
        path: its folder.
        dim: D.
        train_rows, val_rows: proteins on each side.
        fingerprint: of all ids and features, in order; equal fingerprints mean equal content.
        split: the rule that made it.
        origin: the FEATURES it was made from.
        provenance: what produced the features.
        excluded: rows left out because a test set holds them.
        excluded_by: how many of them by id, by sequence and by vector, as far as these were compared.
        not_compared: why ids ("id") or sequences ("sequence") were not compared with the test set.
        repeated_sequences: rows that have the sequence of an earlier one; 0 where there are no sequences.
        sequences_on_both_sides: validation rows that have the sequence of a training row.
    """

    path: Place
    dim: int
    train_rows: int
    val_rows: int
    fingerprint: str
    split: dict[str, Any]
    origin: str
    provenance: dict[str, Any]
    excluded: int = 0
    excluded_by: dict[str, int] = field(default_factory=dict)
    not_compared: dict[str, str] = field(default_factory=dict)
    repeated_sequences: int = 0
    sequences_on_both_sides: int = 0

    @classmethod
    def open(cls, path: str | Place) -> "Dataset":
        """
        Raises:
            DataError: no DATASET there, or its files are not those that were written.
        """
        folder = place(path)
        if not (folder / DATASET_FILE).is_file():
            raise DataError(f"{folder}: no DATASET: it has no {DATASET_FILE}; make one with `resvae-ray split`")
        content = read_json(folder / DATASET_FILE)
        try:
            dataset = cls(path=folder, **content)
        except TypeError:
            raise DataError(f"{folder / DATASET_FILE}: not a DATASET of this version") from None
        for side, rows in ((TRAIN, dataset.train_rows), (VAL, dataset.val_rows)):
            if (found := dataset.features(side).rows) != rows:
                raise DataError(f"{folder / side}: {found} rows, but {DATASET_FILE} says {rows}; split it again")
        return dataset

    def features(self, side: str) -> Features:
        """The rows of `side`, "train" or "val"."""
        return Features.open(self.path / side)
