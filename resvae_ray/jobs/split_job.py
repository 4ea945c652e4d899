"""`split` as a Ray Data job: which row goes where is decided first, then a task writes one file of a side."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resvae_ray.data.dataset import ORIGIN, Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import FingerprintedWriter, part_name, part_rows
from resvae_ray.data.splitting.split import Exclusion, SplitPlan, dataset_folder, plan_split, split_features
from resvae_ray.data.splitting.split_rules import split_request
from resvae_ray.files.place import Place, locate, reaching
from resvae_ray.files.unfinished import begin, finish, remove_files
from resvae_ray.jobs.portions import Portion, States, is_large, portion_of, rows_of, states_of, stretches
from resvae_ray.jobs.unique_ids import require_unique_on_ray
from resvae_ray.names import DATASET_FILE, MEMBERSHIP_FILE, TRAIN, VAL
from resvae_ray.on_ray.cluster import ray_session
from resvae_ray.on_ray.pieces import make_pieces, require_rows
from resvae_ray.progress import Progress, silent

SIDES = {TRAIN: 1, VAL: 2}  # in MEMBERSHIP_FILE; 0 for a row that is left out


@dataclass(frozen=True)
class SplitJob:
    """The settings that all tasks of a split share.

    Attributes:
        states: of the files when their rows were counted.
        folder: the DATASET that is written.
    """

    source: Features
    states: States
    folder: Place
    provenance: dict[str, Any]

    def membership(self, start: int, stop: int) -> np.ndarray:
        """The side of each row from `start` to `stop`, a value of SIDES (n, uint8)."""
        filesystem, path = (self.folder / MEMBERSHIP_FILE).located()
        with reaching(path), filesystem.open_input_file(path) as file:
            file.seek(start)
            return np.frombuffer(file.read(stop - start), np.uint8)


def split_shards(
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
    address: str = "",
    progress: Progress = silent,
    on_ray: Callable[[int], None] = lambda files: None,
) -> Dataset:
    """As `split_features`, with the same bytes; large FEATURES are split as a Ray job.

    The job writes a file at a time on each core, resumes after any interruption, and holds no more on a node's disk
    than the files that its tasks are writing. This process holds 1 to 20 bytes per row, as the rule needs them.

    Args:
        address: of a running Ray cluster: FEATURES of any size are split on it.
        on_ray: called with the number of output files before a job begins.

    Raises:
        DataError, UsageError: see `split_features`.
        JobError: a file changed meanwhile, or the storage cannot be reached; the same command resumes.
    """
    asked = {"rule": rule, "by": by, "val_fraction": val_fraction, "seed": seed}
    leaks = {"exclude": exclude, "exclude_similarity": exclude_similarity, "drop": drop}
    request = split_request(rule, None if by is None else str(by), val_fraction, seed)
    exclusion = Exclusion(exclude, exclude_similarity, drop)
    folder = dataset_folder(dataset, features)
    if not (address or is_large(features)):
        return split_features(features, dataset, **asked, **leaks, progress=progress)
    source = Features.open(features)
    states = states_of(source, source.files)
    command = {"verb": "split", "features": locate(features)[1], "request": request.record(), **exclusion.record()}
    begin(folder, command, states)
    with ray_session(address):
        if not (folder / MEMBERSHIP_FILE).is_file():
            require_unique_on_ray(source)
        plan = plan_split(source, request, exclusion, silent)
        _write_membership(plan, folder)
        pieces = [piece for side in SIDES for piece in _portions(plan, side)]
        on_ray(len(pieces))
        job = SplitJob(source, states, folder, plan.provenance)
        make_pieces(split_portion, folder, pieces, address, progress, job=job)
    require_rows(folder, pieces)
    content = plan.dataset(folder, folder)
    (folder / DATASET_FILE).write_json(content.record() | {ORIGIN: source.path})
    (folder / MEMBERSHIP_FILE).unlink()
    finish(folder)
    return content


def _write_membership(plan: SplitPlan, folder: Place) -> None:
    """Writes where each row goes; what was written of another answer, from another test set, is removed."""
    sides = np.zeros(len(plan.is_val), np.uint8)
    for side, number in SIDES.items():
        sides[plan.rows_of(side)] = number
    target, content = folder / MEMBERSHIP_FILE, sides.tobytes()
    if target.is_file():
        if target.read_bytes() == content:
            return
        remove_files(folder)
    with target.staged_file() as staging:
        staging.write_bytes(content)


def _portions(plan: SplitPlan, side: str) -> list[Portion]:
    found = stretches(plan.rows_of(side), part_rows(plan.source.dim))
    return [
        portion_of(plan.source, f"{side}/{part_name(number)}", rows, start, stop)
        for number, (start, stop, rows) in enumerate(found)
    ]


def split_portion(portion: Portion, job: SplitJob) -> int:
    """Writes the file of a portion and returns its number of rows."""
    side = SIDES[portion.output.partition("/")[0]]
    chosen, row = job.membership(portion.start, portion.stop) == side, 0
    with (
        (job.folder / portion.output).staged_file() as staging,
        FingerprintedWriter(staging, job.source.dim, job.provenance) as writer,
    ):
        for batch in rows_of(portion, job.source, job.states):
            writer.write(batch, chosen[row : row + len(batch)])
            row += len(batch)
    return writer.rows
