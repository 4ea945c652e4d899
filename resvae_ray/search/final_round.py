"""The final round: the finalists of a search are trained again, each under several seeds, all to the full length."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from ray import tune as ray_tune
from ray.tune import Callback
from ray.tune.experiment import Trial

from resvae_ray import names
from resvae_ray.files.atomic import write_json, write_text
from resvae_ray.search.callbacks.recorder import EpochLog, Sender, clear_staging, forget_resume
from resvae_ray.search.callbacks.tensorboard import Board, TensorBoard, board_name
from resvae_ray.search.ray_tune.experiment import run_experiment
from resvae_ray.search.resources import Slots
from resvae_ray.search.run.finalists import Finalist, left_to_train, write_choice
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import TrainingRecord, training_folder
from resvae_ray.search.space import describe
from resvae_ray.search.trial import TrainingJob, run_repeat


def train_finalists(run: Run, job: TrainingJob, slots: Slots, seconds: float | None) -> bool:
    """Trains what is left to train of the finalists, and chooses; whether the user stopped it.

    Args:
        seconds: after which it ends; None is no limit.

    Raises:
        JobError: something is wrong that all would suffer from.
    """
    finalists = run.finalists()
    repeats = left_to_train(finalists)
    _tidy(run, finalists)
    stopped = _train(run, job, slots, seconds, repeats) if repeats else False
    write_choice(run.path, run.finalists())
    return stopped


def _train(run: Run, job: TrainingJob, slots: Slots, seconds: float | None, repeats: list[TrainingRecord]) -> bool:
    (run.path / names.FINALISTS_FOLDER).mkdir(exist_ok=True)
    print(f"finalists: {len(repeats)} trainings left, {slots.concurrent} at a time", file=sys.stderr)
    with closing(FinalRecorder(run, len(repeats))) as recorder:
        return run_experiment(
            run,
            run_repeat,
            {"job": asdict(job), "final": ray_tune.grid_search([_task(repeat) for repeat in repeats])},
            slots,
            name_of=lambda trial: _board(trial).folder,
            callbacks=[recorder, TensorBoard(run, _board), Sender(run)],
            seconds=seconds,
            metric=names.BEST_VAL_LOSS,
            mode="min",
        )


def _tidy(run: Run, finalists: Sequence[Finalist]) -> None:
    """Removes what killed processes left behind."""
    for repeat in (repeat for finalist in finalists for repeat in finalist.repeats):
        clear_staging(training_folder(run.path, repeat.number, repeat.repeat))
        if repeat.ended:
            forget_resume(training_folder(run.where, repeat.number, repeat.repeat))


def _task(repeat: TrainingRecord) -> dict[str, Any]:
    return {names.NUMBER: repeat.number, names.REPEAT: repeat.repeat, "params": repeat.params}


def _board(trial: Trial) -> Board:
    final = trial.config["final"]
    name = "finalist_" + names.FINALIST_FOLDER.format(number=final[names.NUMBER], repeat=final[names.REPEAT])
    title = f"finalist {final[names.NUMBER]:04d}, seed {final[names.REPEAT] + 1}"
    return Board(board_name(name, final["params"]), title, final["params"])


class FinalRecorder(Callback):
    """Keeps the epochs and failures of the round, and says what each training came to."""

    def __init__(self, run: Run, trainings: int, stream: TextIO | None = None) -> None:
        self._run, self._left, self._stream = run, trainings, stream or sys.stderr
        self._log = EpochLog(run.path / names.FINALISTS_FOLDER / names.EPOCHS_FILE)

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks for a restore that is not used here."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: Sequence[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Ray's hook: an epoch, or the reason why the training cannot go on."""
        final = trial.config["final"]
        if names.FAILURE in result:
            write_text(self._folder(trial) / names.ERROR_FILE, f"{result[names.FAILURE]}\n")
        elif names.FAULT not in result:
            self._log.write({names.NUMBER: final[names.NUMBER], names.REPEAT: final[names.REPEAT]}, result)

    def on_trial_complete(self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook: it came to its end, or failed by its own word, or was stopped with the experiment."""
        result = trial.last_result or {}
        if names.FAILURE in result:
            self._say(trial, f"failed: {result[names.FAILURE]}")
        elif result.get(names.EPOCH) == self._run.config.training.epochs:
            self._say(trial, f"{result[names.BEST_VAL_LOSS]:,.2f} at epoch {result[names.BEST_EPOCH]}")

    def on_trial_error(self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook: crashed more often than it may."""
        text = "the process crashed"
        if trial.error_file and os.path.exists(trial.error_file):
            text = Path(trial.error_file).read_text(errors="replace").strip() or text
        folder = self._folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / names.ERROR_FILE, f"{text}\n")
        write_json(folder / names.RESULT_FILE, {names.FAILURE: text.splitlines()[-1]})
        self._say(trial, f"failed: {text.splitlines()[-1]}")

    def close(self) -> None:
        """Closes the file."""
        self._log.close()

    def _folder(self, trial: Trial) -> Path:
        final = trial.config["final"]
        return training_folder(self._run.path, final[names.NUMBER], final[names.REPEAT])

    def _say(self, trial: Trial, what: str) -> None:
        final = trial.config["final"]
        self._left -= 1
        self._stream.write(
            f"finalist trial {final[names.NUMBER]}, seed {final[names.REPEAT] + 1} of "
            f"{self._run.config.search.seeds}: {what}   {describe(final['params'])}   [{self._left} left]\n"
        )
        self._stream.flush()
