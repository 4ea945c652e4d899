"""FEATURES to DATASET: training and validation rows, reproducibly, without what a downstream test set holds.

By default the rule is scikit-learn's `train_test_split(test_size=val_fraction, random_state=seed)`: the same rows end
up on the same side; split_rules.py has the others. Only the membership and a few numbers a row are held in memory; the
rows stream and keep their order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resvae_ray.data.dataset import ORIGIN, Dataset, fingerprint_of, footers_of
from resvae_ray.data.features import Features, require_unique_ids
from resvae_ray.data.features_writer import FingerprintedWriter
from resvae_ray.data.hashes import ABSENT, find_repeats, members
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS
from resvae_ray.data.row_texts import hashed, sequence_column, texts_of
from resvae_ray.data.same_protein import form_counts
from resvae_ray.data.splitting.exclude import Leaks, find_leaks, is_numbered, require_none
from resvae_ray.data.splitting.split_rules import SplitRequest, listed_forms, split_request
from resvae_ray.errors import UsageError
from resvae_ray.files.atomic import write_json
from resvae_ray.files.place import Place, place_to_write, refuse_inside
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
    exclusion = Exclusion(exclude, exclude_similarity, drop)
    folder = dataset_folder(dataset, features)
    with folder.staged_folder(DATASET_FILE) as staging:
        source = Features.open(features)
        require_unique_ids(source.ids, source.path, rows=source.rows)
        plan = plan_split(source, request, exclusion, progress)
        _write_sides(plan, staging, progress)
        content = plan.dataset(folder, staging)
        write_json(staging / DATASET_FILE, content.record() | {ORIGIN: source.path})
    return content


def dataset_folder(dataset: str | Path, features: str | Path) -> Place:
    """
    Raises:
        UsageError: the DATASET cannot be written there.
    """
    folder = place_to_write(dataset)
    refuse_inside(folder, features)
    return folder


@dataclass(frozen=True)
class Exclusion:
    """Proteins that must not be trained on, as `split_features` is asked for them.

    Raises:
        UsageError: there is no test set, and yet something is to be done about it.
    """

    exclude: str | Path | None
    similarity: float | None
    drop: bool

    def __post_init__(self) -> None:
        if self.exclude is None and (self.drop or self.similarity is not None):
            option = "--drop" if self.drop else "--exclude-similarity"
            raise UsageError(f"{option}: it says what to do about a test set; give --exclude OTHER too")

    def record(self) -> dict[str, str | None]:
        """As JSON has it."""
        return {name: value if value is None else str(value) for name, value in vars(self).items()}

    def leaks(self, source: Features, progress: Progress) -> Leaks:
        """The rows of FEATURES that are of the test set.

        Raises:
            DataError: there are some, and they are not to be dropped.
        """
        if self.exclude is None:
            return Leaks(np.zeros(source.rows, dtype=bool), {}, {})
        leaks = find_leaks(source, self.exclude, self.similarity, progress)
        if not self.drop:
            require_none(leaks, source, self.exclude)
        return leaks


@dataclass(frozen=True)
class SplitPlan:
    """Which row of FEATURES goes where.

    Attributes:
        leaks: the rows that are left out.
        is_val: (n, bool) those that validate.
        provenance: of the DATASET's features.
        repeated_sequences, sequences_on_both_sides: see `Dataset`.
    """

    source: Features
    request: SplitRequest
    leaks: Leaks
    is_val: np.ndarray
    provenance: dict[str, Any]
    repeated_sequences: int
    sequences_on_both_sides: int

    def rows_of(self, side: str) -> np.ndarray:
        """The rows (n, bool) of "train" or "val"."""
        return self.is_val if side == VAL else ~self.leaks.rows & ~self.is_val

    def dataset(self, folder: Place, written: Path | Place) -> Dataset:
        """The DATASET that is to be in `folder`, once both sides are complete in `written`."""
        source, request, leaks = self.source, self.request, self.leaks
        return Dataset(
            path=folder,
            dim=source.dim,
            train_rows=int(self.rows_of(TRAIN).sum()),
            val_rows=int(self.rows_of(VAL).sum()),
            fingerprint=fingerprint_of(written),
            split=request.record(),
            provenance=self.provenance,
            val_id_forms=form_counts(listed_forms(source, request.by)) if request.rule == "given" else {},
            excluded=int(leaks.rows.sum()),
            excluded_by=leaks.found,
            excluded_id_forms=leaks.id_forms,
            not_compared=leaks.not_compared,
            repeated_sequences=self.repeated_sequences,
            sequences_on_both_sides=self.sequences_on_both_sides,
            footers=footers_of(written),
            of_latents=source.layout.of_latents,
        )


def plan_split(source: Features, request: SplitRequest, exclusion: Exclusion, progress: Progress) -> SplitPlan:
    """Decides on each row without reading its features, unless they are compared with the test set's.

    Raises:
        DataError, UsageError: see `split_features`.
    """
    leaks = exclusion.leaks(source, progress)
    keep = ~leaks.rows
    is_val = request.validation_rows(source, keep)
    provenance = source.provenance | ({IDS_KEY: ROW_NUMBERS} if is_numbered(source) else {})
    return SplitPlan(source, request, leaks, is_val, provenance, *_repeated_sequences(source, keep, is_val))


def _repeated_sequences(source: Features, keep: np.ndarray, is_val: np.ndarray) -> tuple[int, int]:
    """How many rows have the sequence of an earlier one, and how many that validate have one that is trained on."""
    if (column := sequence_column(source)) is None:
        return 0, 0
    sequences = hashed(texts_of(source, column), source.rows)
    trained, validated = np.sort(sequences[keep & ~is_val]), sequences[is_val]
    on_both_sides = members(validated, trained) & (validated != ABSENT)
    return find_repeats(sequences[keep]).rows, int(on_both_sides.sum())


def _write_sides(plan: SplitPlan, staging: Path, progress: Progress) -> None:
    """Streams the rows to both sides."""
    for side in (TRAIN, VAL):
        (staging / side).mkdir()
    dim, start = plan.source.dim, 0
    chosen = {side: plan.rows_of(side) for side in (TRAIN, VAL)}
    with (
        FingerprintedWriter(staging / TRAIN, dim, plan.provenance) as train,
        FingerprintedWriter(staging / VAL, dim, plan.provenance) as val,
    ):
        for batch in plan.source.batches():
            for side, writer in ((TRAIN, train), (VAL, val)):
                writer.write(batch, chosen[side][start : start + len(batch)])
            start += len(batch)
            progress(start, len(plan.is_val))
