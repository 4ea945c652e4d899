"""Finalists: the best configurations of a search, trained again under fresh seeds, so that no lucky seed decides.

The lowest of many noisy losses is lower than its configuration deserves, all the more the more of them were looked at
(overtuning: Schneider, Bischl and Feurer 2025, arXiv:2506.19540). A finalist's mean over fresh seeds has no such bias,
and how far it lies above the loss that the search saw is the overtuning gap.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from resvae_ray import names
from resvae_ray.config import SearchConfig
from resvae_ray.files.atomic import read_json, write_json
from resvae_ray.search.run.trials import (
    AnyPlace,
    EpochRow,
    SavedWeights,
    TrialRecord,
    read_epochs,
    record_of,
    saved_weights,
)


@dataclass(frozen=True)
class Repeat:
    """One retraining of a finalist.

    Attributes:
        number: the trial whose configuration it is.
        repeat: which one, from 0; its seed is derived from it.
        folder: where its state and weights are.
        loss: the validation loss of its best epoch; None before its end, or if it failed.
        failure: why it failed.
        epochs: all that it reported, in order.
    """

    number: int
    repeat: int
    params: dict[str, Any]
    folder: Path
    loss: float | None
    failure: str | None
    epochs: list[EpochRow] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return self.loss is not None or self.failure is not None

    @property
    def last_epoch(self) -> int:
        """How far it came; 0 before its first report."""
        return self.epochs[-1][names.EPOCH] if self.epochs else 0


@dataclass(frozen=True)
class Finalist:
    """A configuration that was among the best of the search.

    Attributes:
        search_loss: the loss for which it was chosen.
        search_epochs: how long the search trained it.
        complete: whether that was the full length.
        repeats: its retrainings.
    """

    number: int
    params: dict[str, Any]
    search_loss: float
    search_epochs: int
    complete: bool
    repeats: tuple[Repeat, ...]

    @property
    def losses(self) -> list[float]:
        """Of the retrainings that came through."""
        return [repeat.loss for repeat in self.repeats if repeat.loss is not None]

    @property
    def mean(self) -> float | None:
        """Of `losses`."""
        return fmean(self.losses) if self.losses else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation of `losses`."""
        return stdev(self.losses) if len(self.losses) > 1 else None

    @property
    def gap(self) -> float | None:
        """The overtuning gap; None for a trial that was stopped early, whose loss was no full training's."""
        return self.mean - self.search_loss if self.mean is not None and self.complete else None

    @property
    def failed(self) -> int:
        """Retrainings that did not come through."""
        return sum(repeat.failure is not None for repeat in self.repeats)

    @property
    def best(self) -> Repeat | None:
        """The retraining with the lowest loss."""
        came_through = [repeat for repeat in self.repeats if repeat.loss is not None]
        return min(came_through, key=lambda repeat: repeat.loss or 0.0, default=None)

    def row(self) -> dict[str, Any]:
        """The finalist as a table has it."""
        return {
            names.NUMBER: self.number,
            **self.params,
            "search_loss": self.search_loss,
            "search_epochs": self.search_epochs,
            "mean": self.mean,
            "sd": self.sd,
            "gap": self.gap,
            "losses": self.losses,
            "failed": self.failed,
        }


def read_finalists(folder: Path, config: SearchConfig, records: Sequence[TrialRecord]) -> list[Finalist]:
    """The finalists of the RUN in `folder`, the best of the search first.

    There are none before all trials have ended; what was proposed for a longer search need not begin. A trial that was
    stopped early may be one, a failed one may not; of trials with equal parameters the first is.
    """
    begun = [record for record in records if record.state != names.PENDING]
    if len(begun) < config.trials or any(record.state == names.RUNNING for record in begun):
        return []
    came_through = [record for record in records if record.best and record.state != names.FAILED]
    ranked = sorted(came_through, key=lambda record: (record.best_val_loss, record.number))
    distinct = {tuple(sorted(record.params.items())): record for record in reversed(ranked)}
    best = [record for record in ranked if distinct[tuple(sorted(record.params.items()))] is record]
    epochs = _epochs(folder)
    return [_finalist(folder, record, config.seeds, epochs) for record in best[: config.finalists]]


def winner(finalists: Sequence[Finalist]) -> Finalist | None:
    """The finalist with the lowest mean, when all have been trained; one that failed comes after all that did not."""
    came_through = [finalist for finalist in finalists if finalist.losses]
    if not came_through or left_to_train(finalists):
        return None
    return min(came_through, key=lambda finalist: (finalist.failed, finalist.mean))


def left_to_train(finalists: Sequence[Finalist]) -> list[Repeat]:
    """The retrainings that have not ended; the first of every finalist before the second of any."""
    repeats = [repeat for finalist in finalists for repeat in finalist.repeats if not repeat.ended]
    return sorted(repeats, key=lambda repeat: repeat.repeat)


def write_choice(run: Path, finalists: Sequence[Finalist]) -> None:
    """Writes down which finalist was chosen, if one was. It holds until a later round has chosen."""
    if (chosen := winner(finalists)) is not None:
        about = {"among": len(finalists), "seeds": len(chosen.repeats), names.NUMBER: chosen.number}
        write_json(run / names.FINALISTS_FOLDER / names.CHOICE_FILE, about)


def read_choice(folder: Path, records: Sequence[TrialRecord]) -> tuple[Finalist, int] | None:
    """The finalist that was chosen last in the RUN in `folder`, and of how many; None before any was."""
    path = folder / names.FINALISTS_FOLDER / names.CHOICE_FILE
    if not path.exists():
        return None
    about = read_json(path)
    record = record_of(records, about[names.NUMBER], path)
    return _finalist(folder, record, about["seeds"], _epochs(folder)), about["among"]


def best_weights(finalist: Finalist) -> SavedWeights | None:
    """The weights of a finalist's best retraining."""
    return saved_weights(finalist.number, finalist.best.folder) if finalist.best else None


def finalist_folder(run: AnyPlace, number: int, repeat: int) -> AnyPlace:
    """Where a retraining keeps its state, its weights and what it came to."""
    return run / names.FINALISTS_FOLDER / names.FINALIST_FOLDER.format(number=number, repeat=repeat)


Epochs = dict[tuple[int, int], list[EpochRow]]  # by trial and repeat


def _epochs(run: Path) -> Epochs:
    found: Epochs = defaultdict(list)
    for row in read_epochs(run / names.FINALISTS_FOLDER / names.EPOCHS_FILE):
        found[row[names.NUMBER], row[names.REPEAT]].append(row)
    return found


def _finalist(run: Path, record: TrialRecord, seeds: int, epochs: Epochs) -> Finalist:
    repeats = tuple(_repeat(run, record, repeat, epochs[record.number, repeat]) for repeat in range(seeds))
    complete = record.state == names.COMPLETE
    return Finalist(record.number, record.params, record.best_val_loss or 0.0, record.last_epoch, complete, repeats)


def _repeat(run: Path, record: TrialRecord, repeat: int, epochs: list[EpochRow]) -> Repeat:
    folder = finalist_folder(run, record.number, repeat)
    result = read_json(folder / names.RESULT_FILE) if (folder / names.RESULT_FILE).exists() else {}
    failure = result.get(names.FAILURE)
    loss = None if failure else result.get(names.BEST_VAL_LOSS)
    return Repeat(record.number, repeat, record.params, folder, loss, failure, epochs)
