"""The final round: the finalists of a search are trained again, each under several seeds, all to the full length."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TextIO

from ray import tune as ray_tune
from ray.tune import Callback
from ray.tune.experiment import Trial

from resvae_ray import names
from resvae_ray.search.experiment import run_experiment
from resvae_ray.search.finalists import Finalist, Repeat, finalist_folder, left_to_train
from resvae_ray.search.recorder import clear_staging, forget_resume
from resvae_ray.search.resources import Slots
from resvae_ray.search.run import Run
from resvae_ray.search.space import describe
from resvae_ray.search.trial import Job, run_repeat
from resvae_ray.storage import write_json


def train_finalists(run: Run, job: Job, slots: Slots, seconds: float | None) -> bool:
    """Trains what is left to train of the finalists; whether the user stopped it.

    Args:
        seconds: after which it ends; None is no limit.

    Raises:
        JobError: something is wrong that all would suffer from.
    """
    finalists = run.finalists()
    repeats = left_to_train(finalists)
    _tidy(finalists)
    if not repeats:
        return False
    print(f"{len(finalists)} finalists, {len(repeats)} trainings left", file=sys.stderr)
    return run_experiment(
        run,
        run_repeat,
        {"job": asdict(job), "final": ray_tune.grid_search([_task(repeat) for repeat in repeats])},
        slots,
        name_of=_name,
        callbacks=[FinalProgress(run, len(repeats))],
        seconds=seconds,
        metric=names.BEST_VAL_LOSS,
        mode="min",
    )


def _tidy(finalists: Sequence[Finalist]) -> None:
    """Removes what killed processes left behind."""
    for repeat in (repeat for finalist in finalists for repeat in finalist.repeats):
        clear_staging(repeat.folder)
        if repeat.ended:
            forget_resume(repeat.folder)


def _task(repeat: Repeat) -> dict[str, Any]:
    return {names.NUMBER: repeat.number, names.REPEAT: repeat.repeat, "params": repeat.params}


def _name(trial: Trial) -> str:
    final = trial.config["final"]
    return "finalist_" + names.FINALIST_FOLDER.format(number=final[names.NUMBER], repeat=final[names.REPEAT])


class FinalProgress(Callback):
    """A line a training that ended; one that crashed more often than it may is written down as failed."""

    def __init__(self, run: Run, trainings: int, stream: TextIO | None = None) -> None:
        self._run, self._left, self._stream = run, trainings, stream or sys.stderr

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks for a restore that is not used here."""
        return {}

    def on_trial_complete(self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook: it came to its end, or failed by its own word, or was stopped with the experiment."""
        result = trial.last_result or {}
        if names.FAILURE in result:
            self._say(trial, f"failed: {result[names.FAILURE]}")
        elif result.get(names.EPOCH) == self._run.config.training.epochs:
            self._say(trial, f"{result[names.BEST_VAL_LOSS]:,.2f} at epoch {result[names.BEST_EPOCH]}")

    def on_trial_error(self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook: crashed."""
        final = trial.config["final"]
        folder = finalist_folder(self._run.path, final[names.NUMBER], final[names.REPEAT])
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / names.RESULT_FILE, {names.FAILURE: "crashed, see Ray's log"})
        self._say(trial, "failed: it crashed")

    def _say(self, trial: Trial, what: str) -> None:
        final = trial.config["final"]
        self._left -= 1
        self._stream.write(
            f"finalist trial {final[names.NUMBER]}, seed {final[names.REPEAT] + 1} of "
            f"{self._run.config.search.finalist_seeds}: {what}   {describe(final['params'])}   [{self._left} left]\n"
        )
        self._stream.flush()
