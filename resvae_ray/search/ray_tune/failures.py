"""Failures of trials: how often one is retried, and which of them end the whole search.

A crash of the trial counts; the loss of its node does not. Tune counts both, and on a cluster whose nodes come and go
a long trial would fail because of its nodes.

A crash costs one trial, and so does a network that fits in no memory. Data that have changed, a folder that a node
cannot see, or a full disk would fail every trial in turn and leave nothing to resume, so they end the search.
"""

from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial

from resvae_ray import names
from resvae_ray.search.worker_report import Epoch, Fault, decode

NODE_DIED = "node has died"  # in Ray's message; the error has no field for it
FAILURE = "Failure # "  # with which Tune begins each error in a trial's file of errors


class Retries(Callback):
    """Ends a trial that exceeds its crash limit.

    Tune decides before it calls any hook. So Tune allows one failure more than `most`. A trial that crashes that often
    restarts with the reason in its configuration and then fails at once; see `refuse_another`.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook: the trial failed, and Tune is going to try it again."""
        if _lost_with_its_node(_error_of(trial)):
            trial.run_metadata.num_failures -= 1
        elif trial.run_metadata.num_failures > self._most:
            trial.config[names.CRASHED] = _last_line(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook: the trial is given up. Our own refusal is not among the errors that led to it."""
        if names.CRASHED in trial.config and trial.error_file:
            path = Path(trial.error_file)
            errors, _, last = path.read_text(errors="replace").rpartition(FAILURE)
            if CrashedTooOftenError.__name__ in last:
                path.write_text(errors)


class CrashedTooOftenError(Exception):
    """The trial crashed more often than it may; its message says why."""


def refuse_another(config: dict[str, Any]) -> None:
    """
    Raises:
        CrashedTooOftenError: the trial with this configuration must not be tried again.
    """
    if names.CRASHED in config:
        raise CrashedTooOftenError(config[names.CRASHED])


def crash_of(trial: Trial) -> str:
    """The errors of a trial that crashed more often than it may; the reason is in the last line."""
    file = Path(trial.error_file) if trial.error_file else None
    text = file.read_text(errors="replace").strip() if file and file.exists() else ""
    return text or "the process crashed"


def _error_of(trial: Trial) -> Exception | None:
    if trial.pickled_error_file is None:
        return None
    try:
        return cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception:  # of a kind that needs more to be made than it was pickled with: no error of Ray's own
        return None


def _lost_with_its_node(error: Exception | None) -> bool:
    # Unavailable is a worker of which its node says nothing more, not even that it ended.
    return isinstance(error, ActorUnavailableError) or (isinstance(error, RayActorError) and NODE_DIED in str(error))


def _last_line(trial: Trial) -> str:
    return Path(trial.error_file or "").read_text(errors="replace").strip().splitlines()[-1]


ENDS_IN_A_ROW = 5  # without an epoch of any trial between them


class Guard(Callback, Stopper):
    """Watches results and crashes, and stops the search on a fault that affects all trials.

    Attributes:
        reason: why it stopped the search, or None.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._ends = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune's hook of a Stopper: whether this trial must stop."""
        report = decode(result)
        if isinstance(report, Fault):
            self.reason = report.reason
        elif isinstance(report, Epoch):
            self._ends = 0
        elif report is not None and report.short_of_memory:
            self._count()
        return isinstance(report, Fault)

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
