"""One experiment of Ray Tune: where its files go, how it stops, and what ends it.

Tune 2.60 reports the death of a reused worker twice: once from the worker, once from its reset for the next trial.
The second report fails that trial for good, although it had not begun; and a trial that is retried waits for ever,
because Tune still waits for the reset. `Controller` returns such a trial to the queue and counts nothing.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ray import tune as ray_tune

# pyright: reportPrivateImportUsage=false
# This module replaces a private name in a module of Tune.
from ray.exceptions import RayActorError, RayError
from ray.tune import Callback
from ray.tune import tune as tune_module
from ray.tune.error import TuneError
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from resvae_ray import names
from resvae_ray.errors import JobError
from resvae_ray.search.ray_tune.failures import Guard, Retries
from resvae_ray.search.resources import Slots
from resvae_ray.search.run.run import Run
from resvae_ray.stop_signals import STOP_SIGNALS, on_signals


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Ctrl-C, SIGTERM and SIGHUP ask Tune to stop, which it does in good order on SIGUSR1; a second one stops at once.

    Yields:
        Set when the user has asked. Outside the main thread, where signals do not arrive, it never is.
    """
    asked = threading.Event()

    def stop() -> None:
        if asked.is_set() or signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, signal.SIG_IGN):
            raise KeyboardInterrupt
        asked.set()
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    try:
        with on_signals(STOP_SIGNALS, stop):
            yield asked
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, before)


class Controller(TuneController):
    """Tune's controller, without the second report of a dead worker (see above)."""

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
    """Replaces Tune's controller within the context. Tune has no public option for this."""
    theirs = tune_module.TuneController
    tune_module.TuneController = Controller
    try:
        yield
    finally:
        tune_module.TuneController = theirs


Trainable = Callable[[dict[str, Any]], None]
# Tune would hand them to each trial in a request that Ray writes into a log on every node. A trial has its node's own.
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")


def leave_environment_alone() -> None:
    """Makes Tune start trials without environment variables, in the processes that Ray has started already.

    Tune sets a variable for PyTorch Lightning. With any variable, Ray starts another process for a trial, and only
    after its agent for environments has started.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)
    class_cache.DEFAULT_ENV_VARS.clear()


def run_experiment(
    run: Run,
    trainable: Trainable,
    space: dict[str, Any],
    slots: Slots,
    *,
    name_of: Callable[[Trial], str],
    callbacks: Sequence[Callback],
    seconds: float | None,
    **how: Any,
) -> bool:
    """Runs the trials. Returns whether the user stopped them.

    Args:
        space: the configuration that each trial gets.
        name_of: gives the name of a trial.
        seconds: time limit for all trials, or None for no limit.
        how: further arguments of ray.tune.TuneConfig.

    Raises:
        JobError: a fault affects all trials.
        OSError: RUN cannot be written.
        RayError: Ray gave up.
        TuneError: Tune did.
    """
    guard, most = Guard(), run.config.search.max_failures
    leave_environment_alone()
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(trainable, {"cpu": slots.cpus, "gpu": slots.gpus}),
        param_space=space,
        tune_config=ray_tune.TuneConfig(
            max_concurrent_trials=slots.concurrent,
            time_budget_s=seconds,
            reuse_actors=True,
            trial_name_creator=name_of,
            trial_dirname_creator=name_of,
            **how,
        ),
        run_config=ray_tune.RunConfig(
            name=names.TUNE_FOLDER,
            storage_path=str(run.path),
            callbacks=[Retries(most), *callbacks, guard],
            stop=guard,
            failure_config=ray_tune.FailureConfig(max_failures=most + 1),
            verbose=0,
        ),
    )
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(our_controller())
        stop = stack.enter_context(stoppable())
        _fit(tuner)
    if guard.reason:
        raise JobError(f"{guard.reason}; fix that, then resume with: {run.resume_command}")
    return stop.is_set()


def _fit(tuner: ray_tune.Tuner) -> None:
    try:
        tuner.fit()
    except RuntimeError as error:
        # Tune ends this way when a worker is killed for memory, because that is not a RayActorError.
        if isinstance(error.__cause__, RayError):
            raise error.__cause__ from None
        raise
    except TuneError as error:
        # Tune passes on an exception of a callback as text.
        cause = error.__context__
        if isinstance(cause, OSError) and not isinstance(cause, RayError):
            raise cause from None
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Ray's own reports, because ours are clearer."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
