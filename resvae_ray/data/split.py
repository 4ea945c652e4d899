"""FEATURES to DATASET: training and validation rows, reproducibly, without what a downstream test set holds.

The rule is scikit-learn's `train_test_split(test_size=val_fraction, random_state=seed)`: the same rows end up on the
same side. Only the membership (one number a row) is held in memory; the rows stream and keep their order.
"""

import hashlib
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np

from resvae_ray.data.dataset import Dataset
from resvae_ray.data.exclude import rows_to_keep
from resvae_ray.data.features import Features, FeaturesWriter, require_unique_ids
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import DATASET_FILE, TRAIN, VAL
from resvae_ray.progress import Progress, silent
from resvae_ray.storage import local_target, staged_folder, write_json


def split_features(
    features: str | Path,
    dataset: str | Path,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    exclude: str | Path | None = None,
    drop: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """Splits FEATURES into a DATASET.

    Args:
        val_fraction: of the rows, rounded up, go to the validation side.
        exclude: a test set whose proteins must not be trained on: FEATURES, or CSV/TSV with ids or sequences.
        drop: leave those proteins out and count them, instead of refusing.
        progress: told the rows written so far.

    Raises:
        UsageError: a fraction or seed out of range, a target that is there already.
        DataError: FEATURES that are none, ids twice, too few rows, or proteins of the test set without `drop`.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(f"--val-fraction {val_fraction}: expected a fraction between 0 and 1, such as 0.2")
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: expected a whole number from 0 to {2**32 - 1}")
    folder = local_target(dataset)
    with staged_folder(folder) as staging:
        source = Features.open(features)
        require_unique_ids(source.ids, source.path)
        keep = np.ones(source.rows, dtype=bool) if exclude is None else rows_to_keep(source, exclude, drop)
        is_val = _validation_rows(keep, val_fraction, seed, source.path)
        fingerprint = _write_sides(source, keep, is_val, staging, progress)
        content = Dataset(
            path=folder,
            dim=source.dim,
            train_rows=int(keep.sum() - is_val.sum()),
            val_rows=int(is_val.sum()),
            fingerprint=fingerprint,
            split={"rule": "random", "val_fraction": val_fraction, "seed": seed},
            origin=source.path,
            provenance=source.provenance,
            excluded=int((~keep).sum()),
        )
        table = asdict(content)
        del table["path"]
        write_json(staging / DATASET_FILE, table)
    return content


def _validation_rows(keep: np.ndarray, val_fraction: float, seed: int, where: str) -> np.ndarray:
    """Which rows validate (n, bool): the first of a random permutation of the kept rows, as scikit-learn takes them."""
    rows = int(keep.sum())
    count = math.ceil(val_fraction * rows)
    if rows - count < 2 or count < 1:
        raise DataError(
            f"{where}: {rows} rows give {rows - count} to train on and {count} to validate; 2 and 1 at least"
        )
    order = np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
    np.random.RandomState(seed).shuffle(order)
    chosen = np.zeros(rows, dtype=bool)
    chosen[order[:count]] = True
    is_val = np.zeros(len(keep), dtype=bool)
    is_val[keep] = chosen
    return is_val


def _write_sides(source: Features, keep: np.ndarray, is_val: np.ndarray, staging: Path, progress: Progress) -> str:
    """Streams the rows to both sides; the fingerprint of what was written."""
    for side in (TRAIN, VAL):
        (staging / side).mkdir()
    prints = {side: _Fingerprint() for side in (TRAIN, VAL)}
    start = 0
    with (
        FeaturesWriter(staging / TRAIN, source.dim, source.provenance) as train,
        FeaturesWriter(staging / VAL, source.dim, source.provenance) as val,
    ):
        for batch in source.batches():
            window = slice(start, start + len(batch))
            for side, writer, chosen in (
                (TRAIN, train, keep[window] & ~is_val[window]),
                (VAL, val, is_val[window]),
            ):
                part = batch.take(chosen)
                prints[side].update(part)
                writer.write(part)
            start += len(batch)
            progress(start, len(keep))
    return hashlib.blake2b((prints[TRAIN].digest() + prints[VAL].digest()).encode(), digest_size=16).hexdigest()


class _Fingerprint:
    """A hash of ids and features that does not depend on how the rows came in batches."""

    def __init__(self) -> None:
        self._ids = hashlib.blake2b(digest_size=16)
        self._features = hashlib.blake2b(digest_size=16)

    def update(self, batch: FeatureBatch) -> None:
        if len(batch):
            self._ids.update(("\n".join(batch.ids.to_pylist()) + "\n").encode())
            self._features.update(np.ascontiguousarray(batch.features).data)

    def digest(self) -> str:
        return self._ids.hexdigest() + self._features.hexdigest()
