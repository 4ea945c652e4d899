"""A worker's task and its reports: a training, and then an epoch or the reason for a failure.

Ray Tune carries both as dictionaries. Only this module knows their keys: `task_of` and `decode` return a `TrainingTask`
and an `Epoch`, a `Failed` or a `Fault`. The listeners of a search receive these from callbacks/listener.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resvae_ray import names
from resvae_ray.config import TrainingConfig

HOST = "hostname"  # Ray's own key in each result


@dataclass(frozen=True)
class TrainingTask:
    """A training assigned to a worker.

    Attributes:
        number: of the trial.
        params: its proposal.
        repeat: which retraining of the trial, from 0; None for the trial itself.
        paused_at: the epoch at which it paused, which it has reported; 0 if it has not paused.
        until: the epoch at which it pauses again; None if it trains to its end.
    """

    number: int
    params: dict[str, Any]
    repeat: int | None = None
    paused_at: int = 0
    until: int | None = None

    def as_config(self) -> dict[str, Any]:
        """As Ray Tune hands it to the worker, beside what all trainings have in common."""
        config = {names.NUMBER: self.number, "params": self.params}
        stretch = {} if self.until is None else {names.PAUSED_AT: self.paused_at, names.UNTIL: self.until}
        return config | ({} if self.repeat is None else {names.REPEAT: self.repeat}) | stretch

    def pauses(self, report: "Epoch", training: TrainingConfig) -> bool:
        """Whether the training pauses after this epoch."""
        return self.until is not None and report.epoch >= self.until and not report.ends(training)


def task_of(config: Mapping[str, Any]) -> TrainingTask:
    """The task in a configuration of Ray Tune's."""
    return TrainingTask(
        number=config[names.NUMBER],
        params=config.get("params", {}),
        repeat=config.get(names.REPEAT),
        paused_at=config.get(names.PAUSED_AT, 0),
        until=config.get(names.UNTIL),
    )


@dataclass(frozen=True)
class Epoch:
    """An epoch has ended.

    Attributes:
        metrics: of the epoch, by the names in names.py.
        node, device: where it was trained.
    """

    metrics: Mapping[str, Any]
    node: str | None = None
    device: str | None = None

    @property
    def epoch(self) -> int:
        """The epoch, from 1."""
        return self.metrics[names.EPOCH]

    @property
    def best_val_loss(self) -> float:
        """The lowest validation loss up to this epoch."""
        return self.metrics[names.BEST_VAL_LOSS]

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest validation loss."""
        return self.metrics[names.BEST_EPOCH]

    def ends(self, training: TrainingConfig) -> bool:
        """Whether the training ended with this epoch: it was not stopped."""
        return training.has_ended(self.epoch, self.metrics.get(names.BEST_EPOCH, self.epoch))

    def as_result(self) -> dict[str, Any]:
        """As Ray Tune carries it, which adds the node itself."""
        return {**self.metrics, names.DEVICE: self.device}


@dataclass(frozen=True)
class Failed:
    """The training failed.

    Attributes:
        short_of_memory: it ran out of memory, which may affect other trainings too.
        last: the metrics of its last epoch, if any.
    """

    reason: str
    short_of_memory: bool = False
    last: Mapping[str, Any] = field(default_factory=dict)

    def as_result(self) -> dict[str, Any]:
        """As Ray Tune carries it; the scheduler needs an epoch and a loss in each result."""
        result = {names.EPOCH: 0, names.BEST_VAL_LOSS: float("inf"), **self.last, names.FAILURE: self.reason}
        return result | ({names.SHORT_OF_MEMORY: True} if self.short_of_memory else {})


@dataclass(frozen=True)
class Fault:
    """A fault of the data or the machine that affects all trainings."""

    reason: str

    def as_result(self) -> dict[str, Any]:
        """As Ray Tune carries it."""
        return {names.EPOCH: 0, names.BEST_VAL_LOSS: float("inf"), names.FAULT: self.reason}


def decode(result: Mapping[str, Any] | None) -> Epoch | Failed | Fault | None:
    """The report in a result of Ray Tune's; None for a training that has not reported yet."""
    if not result:
        return None
    if names.FAULT in result:
        return Fault(result[names.FAULT])
    if names.FAILURE in result:
        return Failed(result[names.FAILURE], result.get(names.SHORT_OF_MEMORY, False), result)
    if names.EPOCH not in result:
        return None
    return Epoch(result, result.get(HOST), result.get(names.DEVICE))
