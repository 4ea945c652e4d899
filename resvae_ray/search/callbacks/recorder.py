"""Writes what happens in a search into its RUN folder, as it happens."""

import json
import logging
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from resvae_ray import names
from resvae_ray.errors import JobError
from resvae_ray.files.atomic import cut_torn_line, write_text
from resvae_ray.files.place import Place
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trials import trial_folder

logger = logging.getLogger(__name__)

METRICS = (
    names.EPOCH,
    names.TRAIN_LOSS,
    names.VAL_LOSS,
    names.BEST_VAL_LOSS,
    names.BEST_EPOCH,
    names.VAL_RECONSTRUCTION,
    names.VAL_KLD,
    names.R2,
    names.ACTIVE_UNITS,
    names.WORST_LOSS,
    names.WORST_ROW,
    names.PAPER_LOSS,
    names.LEARNING_RATE,
    names.ROWS_PER_SECOND,
    names.SECONDS,
)


class EpochLog:
    """A file with a line of JSON an epoch; each is on the disk when `write` returns."""

    def __init__(self, path: Path) -> None:
        cut_torn_line(path)
        self._file = path.open("a")

    def write(self, of: dict[str, int], result: dict[str, Any]) -> None:
        """Adds what Ray was reported, after the numbers `of` the training that it belongs to."""
        row = of | {name: _or_none(result[name]) for name in METRICS if name in result}
        row |= {name: result.get(key) for name, key in ((names.NODE, "hostname"), (names.DEVICE, names.DEVICE))}
        row[names.TIME] = time.time()
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Recorder(Callback):
    """Keeps epochs.jsonl, the reasons of failures and the tables."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._log = EpochLog(run.path / names.EPOCHS_FILE)

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks for a restore that is not used here; an open file does not belong there."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Ray's hook: an epoch, or the reason why a trial cannot go on."""
        number = trial.config[names.NUMBER]
        if names.FAULT in result:
            return
        if names.FAILURE in result:
            self._write_reason(number, result[names.FAILURE])
            return
        self._log.write({names.NUMBER: number}, result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook: complete, pruned, or failed by its own word."""
        if names.FAULT in (trial.last_result or {}):
            return
        self._end(trial.config[names.NUMBER])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook: crashed more often than it may."""
        number = trial.config[names.NUMBER]
        if trial.error_file and os.path.exists(trial.error_file):
            with open(trial.error_file, errors="replace") as file:
                self._write_reason(number, file.read())
        self._end(number)

    def close(self) -> None:
        """Closes the files."""
        self._log.close()

    def _write_reason(self, number: int, text: str) -> None:
        write_text(trial_folder(self._run.path, number) / names.ERROR_FILE, text.strip() + "\n")

    def _end(self, number: int) -> None:
        try:
            forget_resume(trial_folder(self._run.where, number))
            self._run.write_tables()
        except (OSError, ValueError, TypeError, JobError) as error:
            # They are made from the record, and made again at the next end of a trial: no reason to stop a search.
            logger.warning("%s: the tables could not be written: %s", self._run.path, error)


def _or_none(value: float) -> float | None:
    """JSON knows no NaN; R² is one where the validation rows are all alike."""
    return value if math.isfinite(value) else None


class Sender(Callback):
    """Sends a RUN to its bucket after every trial that ends; nothing to do for one on a disk."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks for a restore that is not used here."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook."""
        self._send()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook."""
        self._send()

    def _send(self) -> None:
        try:
            self._run.send()
        except JobError as error:
            # All of it is still here, and is sent when the next trial ends.
            logger.warning("not sent to the bucket: %s", error)


def forget_resume(folder: Place) -> None:
    """Removes what only an unfinished training needs, by far the largest part of its folder."""
    (folder / names.RESUME_FILE).unlink(missing_ok=True)


def clear_staging(folder: Path) -> None:
    """Removes what a killed worker left half-written in the folder of a training."""
    for path in folder.glob(".*.partial-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
