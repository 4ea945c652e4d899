"""FEATURES to DATASET: training and validation rows, reproducibly, without what a downstream test set holds.

By default the rule is scikit-learn's `train_test_split(test_size=val_fraction, random_state=seed)`: the same rows end
up on the same side; split_rules.py has the others. Only the membership and a few numbers a row are held in memory; the
rows stream and keep their order.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from resvae_ray.data.dataset import ORIGIN, Dataset, footers_of
from resvae_ray.data.features import Features, require_unique_ids
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.hashes import ABSENT, find_repeats, members
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS
from resvae_ray.data.row_texts import hashed, sequence_column, texts_of
from resvae_ray.data.same_protein import form_counts
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.data.splitting.exclude import Leaks, find_leaks, is_numbered, require_none
from resvae_ray.data.splitting.split_rules import listed_forms, split_request
from resvae_ray.errors import UsageError
from resvae_ray.files.atomic import write_json
from resvae_ray.files.place import place_to_write, refuse_inside
from resvae_ray.names import DATASET_FILE, TRAIN, VAL
from resvae_ray.progress import Progress, silent


def split_features(
    features: str | Path,
    dataset: str | Path,
    *,
    rule: str = "random",
    by: str | Path | None = None,
    val_fraction: float | None = None,
    seed: int | None = None,
    exclude: str | Path | None = None,
    exclude_similarity: float | None = None,
    drop: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """Splits FEATURES into a DATASET.

    Args:
        rule: random, group, hash, stratified or given; see split_rules.py.
        by: the column of groups ("group") or of labels ("stratified"; default the label), or a file with the ids that
            validate ("given").
        val_fraction: of the rows, rounded up, go to the validation side (0.2).
        seed: of the draw, or the salt of the hash (0).
        exclude: a test set whose proteins must not be trained on: FEATURES, CSV/TSV or FASTA with ids or
            sequences, or a text with an id a line.
        exclude_similarity: also exclude vectors whose cosine with one of the test set is so high; see exclude.py.
        drop: leave those proteins out and count them, instead of refusing.
        progress: told the rows compared so far, where vectors are compared, then the rows written so far.

    Raises:
        UsageError: a rule, fraction, seed or similarity that cannot be meant, a target that is there already.
        DataError: FEATURES that are none, ids twice, too few rows, rows that the rule cannot place, or proteins of the
            test set without `drop`.
    """
    request = split_request(rule, None if by is None else str(by), val_fraction, seed)
    if exclude is None and (drop or exclude_similarity is not None):
        option = "--drop" if drop else "--exclude-similarity"
        raise UsageError(f"{option}: it says what to do about a test set; give --exclude OTHER too")
    folder = place_to_write(dataset)
    refuse_inside(folder, features)
    with folder.staged_folder(DATASET_FILE) as staging:
        source = Features.open(features)
        require_unique_ids(source.ids, source.path)
        leaks = _leaks(source, exclude, exclude_similarity, drop, progress)
        keep = ~leaks.rows
        is_val = request.validation_rows(source, keep)
        repeated, on_both_sides = _repeated_sequences(source, keep, is_val)
        provenance = source.provenance | ({IDS_KEY: ROW_NUMBERS} if is_numbered(source) else {})
        fingerprint = _write_sides(source, provenance, keep, is_val, staging, progress)
        content = Dataset(
            path=folder,
            dim=source.dim,
            train_rows=int(keep.sum() - is_val.sum()),
            val_rows=int(is_val.sum()),
            fingerprint=fingerprint,
            split=request.record(),
            provenance=provenance,
            val_id_forms=form_counts(listed_forms(source, request.by)) if request.rule == "given" else {},
            excluded=int(leaks.rows.sum()),
            excluded_by=leaks.found,
            excluded_id_forms=leaks.id_forms,
            not_compared=leaks.not_compared,
            repeated_sequences=repeated,
            sequences_on_both_sides=on_both_sides,
            footers=footers_of(staging),
        )
        table = asdict(content)
        del table["path"]
        write_json(staging / DATASET_FILE, table | {ORIGIN: source.path})
    return content


def _leaks(
    source: Features, exclude: str | Path | None, similarity: float | None, drop: bool, progress: Progress
) -> Leaks:
    if exclude is None:
        return Leaks(np.zeros(source.rows, dtype=bool), {}, {})
    leaks = find_leaks(source, exclude, similarity, progress)
    if not drop:
        require_none(leaks, source, exclude)
    return leaks


def _repeated_sequences(source: Features, keep: np.ndarray, is_val: np.ndarray) -> tuple[int, int]:
    """How many rows have the sequence of an earlier one, and how many that validate have one that is trained on."""
    if (column := sequence_column(source)) is None:
        return 0, 0
    sequences = hashed(texts_of(source, column), source.rows)
    trained, validated = np.sort(sequences[keep & ~is_val]), sequences[is_val]
    on_both_sides = members(validated, trained) & (validated != ABSENT)
    return find_repeats(sequences[keep]).rows, int(on_both_sides.sum())


def _write_sides(
    source: Features,
    provenance: dict[str, Any],
    keep: np.ndarray,
    is_val: np.ndarray,
    staging: Path,
    progress: Progress,
) -> str:
    """Streams the rows to both sides; the fingerprint of what was written."""
    for side in (TRAIN, VAL):
        (staging / side).mkdir()
    prints = {side: _Fingerprint() for side in (TRAIN, VAL)}
    start = 0
    with (
        FeaturesWriter(staging / TRAIN, source.dim, provenance) as train,
        FeaturesWriter(staging / VAL, source.dim, provenance) as val,
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
