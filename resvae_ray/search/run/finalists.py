"""Finalists: the best configurations of a search, trained again under fresh seeds, so that no lucky seed decides.

The lowest of many noisy losses underestimates the true loss of its configuration, and more trials increase this bias
(overtuning: Schneider, Bischl and Feurer 2025, arXiv:2506.19540). A finalist's mean over fresh seeds has no such bias.
The overtuning gap is that mean minus the loss in the search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from resvae_ray import names
from resvae_ray.config import SearchConfig
from resvae_ray.files.atomic import write_json
from resvae_ray.search.run.snapshot import Snapshot
from resvae_ray.search.run.trainings import (
    SavedWeights,
    TrainingRecord,
    record_of,
    saved_weights,
    training_folder,
)


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
    repeats: tuple[TrainingRecord, ...]

    @property
    def losses(self) -> list[float]:
        """The losses of the retrainings that succeeded."""
        return [repeat.loss for repeat in self.repeats if repeat.loss is not None]

    @property
    def mean(self) -> float | None:
        """The mean of `losses`."""
        return fmean(self.losses) if self.losses else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation of `losses`."""
        return stdev(self.losses) if len(self.losses) > 1 else None

    @property
    def gap(self) -> float | None:
        """The overtuning gap; None for a trial that was stopped early, whose loss is not from a full training."""
        return self.mean - self.search_loss if self.mean is not None and self.complete else None

    @property
    def failed(self) -> int:
        """The number of retrainings that failed."""
        return sum(repeat.failure is not None for repeat in self.repeats)

    @property
    def best(self) -> TrainingRecord | None:
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


def finalists_of(snapshot: Snapshot, config: SearchConfig) -> list[Finalist]:
    """The finalists of a RUN, the best of the search first.

    The list is empty until all trials have ended; proposals for a longer search need not begin. A trial that ASHA
    stopped can be a finalist, but a failed trial cannot. Among trials with equal parameters, only the first counts.
    """
    begun = [trial for trial in snapshot.trials if trial.state != names.PENDING]
    if len(begun) < snapshot.wanted(config) or any(trial.state in (names.RUNNING, names.PAUSED) for trial in begun):
        return []
    came_through = [trial for trial in begun if trial.best_val_loss is not None and trial.state != names.FAILED]
    ranked = sorted(came_through, key=lambda trial: (trial.best_val_loss, trial.number))
    distinct = {tuple(sorted(trial.params.items())): trial for trial in reversed(ranked)}
    best = [trial for trial in ranked if distinct[tuple(sorted(trial.params.items()))] is trial]
    return [_finalist(snapshot, trial, config.seeds) for trial in best[: config.finalists]]


def winner(finalists: Sequence[Finalist]) -> Finalist | None:
    """The finalist with the lowest mean, once all have been trained. Finalists with failures rank last."""
    came_through = [finalist for finalist in finalists if finalist.losses]
    if not came_through or left_to_train(finalists):
        return None
    return min(came_through, key=lambda finalist: (finalist.failed, finalist.mean))


def left_to_train(finalists: Sequence[Finalist]) -> list[TrainingRecord]:
    """The retrainings that have not ended; the first of every finalist before the second of any."""
    repeats = [repeat for finalist in finalists for repeat in finalist.repeats if not repeat.ended]
    return sorted(repeats, key=lambda repeat: repeat.repeat or 0)


def write_choice(run: Path, finalists: Sequence[Finalist]) -> None:
    """Records the chosen finalist, if there is one. The record is valid until a later round chooses."""
    if (chosen := winner(finalists)) is not None:
        about = {"among": len(finalists), "seeds": len(chosen.repeats), names.NUMBER: chosen.number}
        write_json(run / names.FINALISTS_FOLDER / names.CHOICE_FILE, about)


def chosen_of(snapshot: Snapshot, run: object) -> tuple[Finalist, int] | None:
    """The last chosen finalist of a RUN and the number of finalists; None before a choice.

    Args:
        run: name of the RUN, for the message.

    Raises:
        DataError: the chosen trial is not in the study.
    """
    if (about := snapshot.choice) is None:
        return None
    where = f"{run}/{names.FINALISTS_FOLDER}/{names.CHOICE_FILE}"
    trial = record_of(snapshot.trials, about[names.NUMBER], where)
    return _finalist(snapshot, trial, about["seeds"]), about["among"]


def best_weights(run: Path, finalist: Finalist) -> SavedWeights | None:
    """The weights of a finalist's best retraining."""
    if (best := finalist.best) is None:
        return None
    return saved_weights(finalist.number, training_folder(run, best.number, best.repeat))


def _finalist(snapshot: Snapshot, trial: TrainingRecord, seeds: int) -> Finalist:
    repeats = tuple(snapshot.retraining(trial, repeat) for repeat in range(seeds))
    complete = trial.state == names.COMPLETE
    return Finalist(trial.number, trial.params, trial.best_val_loss or 0.0, trial.last_epoch, complete, repeats)
