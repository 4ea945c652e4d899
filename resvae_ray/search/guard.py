"""Ends a search in which something is wrong that no other trial would be spared.

A crash costs one trial, as does a network that no memory holds. But data that have changed, a folder that a node cannot
see or a full disk would cost all of them, one after another, and leave nothing to resume.
"""

from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial

from resvae_ray import names

ENDS_IN_A_ROW = 5  # without an epoch of any trial between them


class Guard(Callback, Stopper):
    """Watches results and crashes; told of a fault of all trials, it stops the search.

    Attributes:
        reason: why it did.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._ends = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune's hook of a Stopper: whether this trial must stop."""
        if names.FAULT in result:
            self.reason = result[names.FAULT]
        elif names.FAILURE not in result:
            self._ends = 0
        elif names.SHORT_OF_MEMORY in result:
            self._count()
        return names.FAULT in result

    def stop_all(self) -> bool:
        """Tune's hook of a Stopper: whether all must."""
        return self.reason is not None

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook of a Callback: a trial crashed more often than it may."""
        self._count()

    def _count(self) -> None:
        self._ends += 1
        if self._ends == ENDS_IN_A_ROW:
            self.reason = f"{self._ends} trials in a row ended before their first epoch"
