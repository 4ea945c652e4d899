"""A training: a trial of the search, or a retraining of a finalist. Its record, its folder and the weights in it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from resvae_ray import names
from resvae_ray.errors import DataError
from resvae_ray.files.place import Place
from resvae_ray.model.checkpoint import newest_best
from resvae_ray.model.tensor_file import read_state
from resvae_ray.search.run.epoch_log import Curve, EpochRow

STATES = (names.PENDING, names.RUNNING, names.PAUSED, names.COMPLETE, names.PRUNED, names.FAILED)
ENDED = (names.COMPLETE, names.PRUNED, names.FAILED)

AnyPlace = TypeVar("AnyPlace", Path, Place)
TRIES = 3  # to read weights that a training replaces


@dataclass(frozen=True)
class TrainingRecord:
    """One training.

    Attributes:
        number: of the trial; for a retraining, of the trial whose configuration it has.
        state: pending, running, paused, complete, pruned or failed.
        curve: the epochs that it reported.
        failure: why it failed.
        repeat: which retraining, from 0; its seed is derived from it. None for a trial.
        loss: the validation loss of a retraining's best epoch; None before its end, or if it failed.
    """

    number: int
    state: str
    params: dict[str, Any]
    curve: Curve = field(default_factory=Curve)
    failure: str | None = None
    repeat: int | None = None
    loss: float | None = None

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return self.state in ENDED

    @property
    def epochs(self) -> list[EpochRow]:
        """All that it reported, in order."""
        return self.curve.rows

    @property
    def best(self) -> EpochRow | None:
        """All that it reported of the epoch with the lowest validation loss."""
        return None if self.curve.best is None else self.curve.rows[self.curve.best]

    @property
    def best_val_loss(self) -> float | None:
        """The lowest validation loss."""
        return self.curve.best_val_loss

    @property
    def last_epoch(self) -> int:
        """The last epoch that it reported; 0 before its first report."""
        return self.curve.last_epoch

    def row(self) -> Mapping[str, Any]:
        """The trial as trials.csv has it."""
        return self._row

    @cached_property
    def _row(self) -> dict[str, Any]:
        return {
            names.NUMBER: self.number,
            names.STATE: self.state,
            **self.params,
            names.BEST_VAL_LOSS: self.curve.best_val_loss,
            names.BEST_EPOCH: self.curve.best_epoch,
            names.EPOCHS: self.curve.last_epoch,
            names.SECONDS: self.curve.total_seconds,
            names.NODE: self.curve.node,
            names.FAILURE: self.failure,
        }


@dataclass(frozen=True)
class BestTrial:
    """The lowest validation loss of a search, and where it was seen."""

    number: int
    params: dict[str, Any]
    best_val_loss: float
    best_epoch: int


def best_of(trials: Iterable[TrainingRecord]) -> BestTrial | None:
    """The lowest validation loss of these trials."""
    found = [
        (loss, trial, epoch)
        for trial in trials
        if (loss := trial.curve.best_val_loss) is not None and (epoch := trial.curve.best_epoch) is not None
    ]
    if not found:
        return None
    loss, trial, epoch = min(found, key=lambda entry: entry[0])
    return BestTrial(trial.number, trial.params, loss, epoch)


def record_of(trials: Sequence[TrainingRecord], number: int, where: object) -> TrainingRecord:
    """The trial of that number.

    Args:
        where: file or RUN to name in the message.

    Raises:
        DataError: the study has no such trial.
    """
    found = next((trial for trial in trials if trial.number == number), None)
    if found is None:
        raise DataError(f"{where}: trial {number} is not in the study")
    return found


def training_folder(run: AnyPlace, number: int, repeat: int | None = None) -> AnyPlace:
    """The folder of a training, with its weights and, if it failed, the reason.

    Args:
        number: of the trial.
        repeat: which retraining of it; None for the trial itself.
    """
    if repeat is None:
        return run / names.TRIALS_FOLDER / names.TRIAL_FOLDER.format(number=number)
    return run / names.FINALISTS_FOLDER / names.FINALIST_FOLDER.format(number=number, repeat=repeat)


def trial_folders(run: Path) -> dict[int, Path]:
    """The folders of the trials that have one, by number."""
    return {number: Path(entry) for number, entry in sorted(trial_entries(run).items())}


def trial_entries(run: Path) -> dict[int, os.DirEntry[str]]:
    """The same in any order and without a `Path`, for a search that looks at all of them each time a trial ends."""
    try:
        with os.scandir(run / names.TRIALS_FOLDER) as entries:
            return {int(entry.name): entry for entry in entries if entry.name.isdigit()}
    except FileNotFoundError:
        return {}


def failure_in(folder: Path) -> str | None:
    """The reason in a failed training's folder: the last line of error.txt; None without one."""
    path = folder / names.ERROR_FILE
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else None


@dataclass(frozen=True)
class SavedWeights:
    """The weights of a training's best epoch, as they are on the disk."""

    number: int
    path: Path
    epoch: int
    val_loss: float


def saved_weights(number: int, folder: Path) -> SavedWeights | None:
    """The newest weights that a training of trial `number` has saved in `folder`.

    Raises:
        DataError: they are damaged.
    """
    for left in reversed(range(TRIES)):
        if (path := newest_best(folder)) is None:
            return None
        try:
            metrics = read_state(path)["metrics"]
            return SavedWeights(number, path, int(metrics[names.EPOCH]), metrics[names.VAL_LOSS])
        except DataError:
            # A training that runs removes weights when it has saved better ones.
            if path.exists() or not left:
                raise
    return None
