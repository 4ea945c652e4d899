"""Tune's controller, for which a worker may die between two of the trials that it serves.

Tune 2.60 hears twice of such a death, from the worker and from its reset for the next trial. The second time gives that
trial up, however often it may be tried again; and a trial that is tried again waits for ever, since Tune goes on
believing in its reset. The trial had not begun, so nothing is counted: it waits for another worker.
"""

# pyright: reportPrivateImportUsage=false
# What is replaced is a name in a module of Tune.

from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayActorError
from ray.tune import tune as tune_module
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial


class Controller(TuneController):
    """Of a running experiment."""

    def _trial_task_failure(self, trial: Trial, exception: Exception) -> None:
        if not isinstance(exception, RayActorError):
            super()._trial_task_failure(trial, exception)
        elif trial in self._resetting_trials:
            self._resetting_trials.remove(trial)
            self._set_trial_status(trial, Trial.PENDING)
        elif trial.status != Trial.PENDING:  # else it is the second time
            super()._trial_task_failure(trial, exception)


@contextmanager
def our_controller() -> Iterator[None]:
    """Tune takes it meanwhile; no other way leads there."""
    theirs = tune_module.TuneController
    tune_module.TuneController = Controller
    try:
        yield
    finally:
        tune_module.TuneController = theirs
