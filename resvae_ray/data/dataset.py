"""DATASET: the training and the validation rows of a search, with the rule that split them and a fingerprint."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from resvae_ray.config import DataConfig
from resvae_ray.data.features import Features
from resvae_ray.data.parquet_pieces import parquet_file
from resvae_ray.errors import DataError
from resvae_ray.files.atomic import read_json
from resvae_ray.files.place import AnyPath, Place, place
from resvae_ray.names import DATASET_FILE, ROWS_HASH_KEY, TRAIN, VAL

RESIDENT, STREAM = "resident", "stream"  # how a trial holds its rows
ORIGIN = "origin"  # in dataset.json, for people: the FEATURES it was made from


@dataclass(frozen=True)
class Dataset:
    """A DATASET on disk.

    Attributes:
        path: its folder.
        dim: D.
        train_rows, val_rows: proteins on each side.
        fingerprint: of all ids and features, in order; equal fingerprints mean equal content.
        split: the rule that made it.
        provenance: what produced the features.
        val_id_forms: how many validation ids of a file agreed in which form; see same_protein.py.
        excluded: rows left out because a test set holds them.
        excluded_by: how many of them by id, by sequence and by vector, as far as these were compared.
        excluded_id_forms: how many of those excluded by id agreed in which form; see same_protein.py.
        not_compared: why ids ("id") or sequences ("sequence") were not compared with the test set.
        repeated_sequences: rows that have the sequence of an earlier one; 0 without a sequence column.
        sequences_on_both_sides: validation rows that have the sequence of a training row.
        footers: a hash of the Parquet footers: sizes, offsets and extremes of all columns. It changes with the rows,
            and is compared whenever the DATASET is opened.
        of_latents: whether the vectors are the latents of `encode`. The split knows it; dataset.json does not say it.
    """

    path: Place
    dim: int
    train_rows: int
    val_rows: int
    fingerprint: str
    split: dict[str, Any]
    provenance: dict[str, Any]
    val_id_forms: dict[str, int] = field(default_factory=dict)
    excluded: int = 0
    excluded_by: dict[str, int] = field(default_factory=dict)
    excluded_id_forms: dict[str, int] = field(default_factory=dict)
    not_compared: dict[str, str] = field(default_factory=dict)
    repeated_sequences: int = 0
    sequences_on_both_sides: int = 0
    footers: str = ""
    of_latents: bool = field(default=False, compare=False)

    @classmethod
    def open(cls, path: AnyPath) -> "Dataset":
        """
        Raises:
            DataError: no DATASET there, or its files are not those that were written.
        """
        folder = place(path)
        if not (folder / DATASET_FILE).is_file():
            raise DataError(f"{folder}: not a DATASET: {DATASET_FILE} is missing; create one with `resvae-ray split`")
        content = read_json(folder / DATASET_FILE)
        try:
            content.pop(ORIGIN, None)
            dataset = cls(path=folder, **content)
        except (AttributeError, TypeError):
            raise DataError(f"{folder / DATASET_FILE}: not a DATASET of this version") from None
        for side, rows in ((TRAIN, dataset.train_rows), (VAL, dataset.val_rows)):
            if (found := dataset.features(side).rows) != rows:
                raise DataError(f"{folder / side}: {found} rows, but {DATASET_FILE} says {rows}; split it again")
        if dataset.footers and dataset.footers != footers_of(folder):
            raise DataError(f"{folder}: its files are not those that {DATASET_FILE} was written with; split it again")
        return dataset

    def record(self) -> dict[str, Any]:
        """The content of dataset.json."""
        return {key: value for key, value in asdict(self).items() if key not in ("path", "of_latents")}

    def features(self, side: str) -> Features:
        """The rows of `side`, "train" or "val"."""
        return Features.open(self.path / side)


def fingerprint_of(folder: Path | Place) -> str:
    """The fingerprint of what was written below a DATASET's folder, from the hashes in its files' metadata."""
    sides = []
    for side in (TRAIN, VAL):
        features = Features.open(folder / side)
        metadata = (parquet_file(features.filesystem, file).metadata.metadata for file in features.files)
        hashes = [found[ROWS_HASH_KEY].decode() for found in metadata]
        sides.append(hashes[0] if len(hashes) == 1 else _hash("".join(hashes)))
    return _hash("".join(sides))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def footers_of(folder: Path | Place) -> str:
    """A hash of the footers of the Parquet files below a DATASET's folder, by side and in order."""
    digest = hashlib.blake2b(digest_size=16)
    for side in (TRAIN, VAL):
        features = Features.open(folder / side)
        for file in features.files:
            digest.update(f"{side} {_footer(parquet_file(features.filesystem, file).metadata)}".encode())
    return digest.hexdigest()


def _footer(metadata: Any) -> list[Any]:
    """For each row group: its rows, and the name, offset, size and extremes of each column."""
    found = []
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        columns = [group.column(position) for position in range(group.num_columns)]
        extremes = [(c.statistics.min, c.statistics.max) if c.is_stats_set else None for c in columns]
        places = [(c.path_in_schema, c.data_page_offset, c.total_compressed_size) for c in columns]
        found.append((group.num_rows, places, extremes))
    return found


def choose_mode(dataset: Dataset, config: DataConfig) -> str:
    """How a trial holds the rows: as configured, or in `auto` resident where both sides fit the budget."""
    if config.mode != "auto":
        return config.mode
    size = 4 * dataset.dim * (dataset.train_rows + dataset.val_rows)
    return RESIDENT if size <= config.resident_budget_mb * 2**20 else STREAM
