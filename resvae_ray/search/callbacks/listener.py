"""The events of a search for its listeners, decoded in one place from what Ray Tune passes to a callback."""

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from resvae_ray.config import TrainingConfig
from resvae_ray.search.ray_tune.failures import crash_of
from resvae_ray.search.worker_report import Epoch, Failed, Fault, TrainingTask, decode, task_of


class Listener(Callback):
    """Hears of the trainings of a search. A subclass overrides what it wants to hear.

    Args:
        training: of the search, by which a training has ended or pauses.
    """

    def __init__(self, training: TrainingConfig) -> None:
        self.training = training

    def started(self, task: TrainingTask) -> None:
        """A training starts on a worker, again if it was interrupted."""

    def epoch_ended(self, task: TrainingTask, epoch: Epoch) -> None:
        """A training reports an epoch. After a crash it repeats the epochs since its last checkpoint."""

    def failed(self, task: TrainingTask, failure: Failed) -> None:
        """A training reports that it has failed; it ends next."""

    def ended(self, task: TrainingTask, last: Epoch | Failed | None) -> None:
        """A training is complete, was stopped, or has failed.

        Not called after a fault, which is not the training's.

        Args:
            last: what it reported last; None if it was stopped before its first epoch.
        """

    def paused(self, task: TrainingTask, last: Epoch) -> None:
        """A training has come to the rung where it pauses. If it is promoted, it starts again."""

    def crashed(self, task: TrainingTask, errors: str) -> None:
        """A training exceeded its crash limit; the reason is in the last line of `errors`."""

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks for a restore that is not used here; an open file does not belong there."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.started(task_of(trial.config))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        task, report = task_of(trial.config), decode(result)
        if isinstance(report, Epoch):
            self.epoch_ended(task, report)
        elif isinstance(report, Failed):
            self.failed(task, report)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        task, report = task_of(trial.config), decode(trial.last_result)
        if isinstance(report, Epoch) and task.pauses(report, self.training):
            self.paused(task, report)
        elif not isinstance(report, Fault):
            self.ended(task, report)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.crashed(task_of(trial.config), crash_of(trial))
