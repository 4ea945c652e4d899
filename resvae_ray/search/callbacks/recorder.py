"""Records the events of a search in its RUN folder as they happen."""

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
from resvae_ray.files.atomic import cut_torn_line, write_json, write_text
from resvae_ray.files.place import Place
from resvae_ray.search.callbacks.listener import Listener
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import training_folder
from resvae_ray.search.worker_report import Epoch, Failed, TrainingTask

logger = logging.getLogger(__name__)

SHARE = 0.05  # of the driver's time for the tables

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
    """A file with one line of JSON per epoch. `write` returns after the line is on the disk."""

    def __init__(self, path: Path) -> None:
        cut_torn_line(path)
        self._file = path.open("a")

    def write(self, number: int, report: Epoch, repeat: int | None = None) -> None:
        """Adds an epoch of a trial, or of a retraining of it."""
        row = {names.NUMBER: number} | ({} if repeat is None else {names.REPEAT: repeat})
        row |= {name: _or_none(report.metrics[name]) for name in METRICS if name in report.metrics}
        row |= {names.NODE: report.node, names.DEVICE: report.device, names.TIME: time.time()}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file; every line is on the disk already."""
        self._file.close()


class Tables:
    """Rewrites the tables of a RUN when a trial has ended, in at most SHARE of the time.

    The tables grow with the search, and trials may end faster than the tables are written. A later write adds the rest.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._stale, self._due = run, False, 0.0

    def outdated(self) -> None:
        """Marks the tables as outdated after a trial ends."""
        self._stale = True
        self.write_if_due()

    def write_if_due(self) -> None:
        """Writes outdated tables, unless the last write was too recent."""
        if self._stale and time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """Writes the tables now. If that fails, they stay outdated."""
        began = time.monotonic()
        try:
            self._run.write_tables()
            self._stale = False
        except (OSError, ValueError, TypeError, JobError) as error:
            # The next trial that ends rebuilds the tables from the record, so the search continues.
            logger.warning("%s: the tables could not be written: %s", self._run.path, error)
        ended = time.monotonic()
        self._due = ended + (ended - began) / SHARE

    def close(self) -> None:
        """Writes the tables if they are outdated."""
        if self._stale:
            self.write()


class Recorder(Listener):
    """Keeps epochs.jsonl, the reasons of failures and the tables."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.config.training)
        self._run, self._tables = run, Tables(run)
        self._log = EpochLog(run.path / names.EPOCHS_FILE)

    def epoch_ended(self, task: TrainingTask, epoch: Epoch) -> None:
        self._log.write(task.number, epoch, task.repeat)
        self._tables.write_if_due()

    def failed(self, task: TrainingTask, failure: Failed) -> None:
        self._write_reason(task, failure.reason)

    def ended(self, task: TrainingTask, last: Epoch | Failed | None) -> None:
        self._end(task)

    def paused(self, task: TrainingTask, last: Epoch) -> None:
        self._tables.outdated()

    def crashed(self, task: TrainingTask, errors: str) -> None:
        self._write_reason(task, errors)
        if task.repeat is not None:
            # A retraining has ended when its result is there.
            folder = training_folder(self._run.path, task.number, task.repeat)
            write_json(folder / names.RESULT_FILE, {names.FAILURE: errors.splitlines()[-1]})
        self._end(task)

    def close(self) -> None:
        """Closes the files, with all that has ended in the tables."""
        self._log.close()
        self._tables.close()

    def _write_reason(self, task: TrainingTask, text: str) -> None:
        write_text(training_folder(self._run.path, task.number, task.repeat) / names.ERROR_FILE, text.strip() + "\n")

    def _end(self, task: TrainingTask) -> None:
        if task.repeat is not None:
            return  # its worker removes its state when its result is written; the tables have a row per trial
        try:
            forget_resume(training_folder(self._run.where, task.number))
        except (OSError, JobError) as error:
            logger.warning("%s: the state of trial %d could not be removed: %s", self._run.path, task.number, error)
        self._tables.outdated()


def _or_none(value: float) -> float | None:
    """JSON knows no NaN; R² is one where the validation rows are all alike."""
    return value if math.isfinite(value) else None


class Sender(Callback):
    """Uploads a RUN to its bucket after each trial. Does nothing for a RUN on a disk."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks for a restore that is not used here."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._send()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._send()

    def _send(self) -> None:
        try:
            self._run.send()
        except JobError as error:
            # All of it is still here, and is sent when the next trial ends.
            logger.warning("not sent to the bucket: %s", error)


def forget_resume(folder: Place) -> None:
    """Removes the resume state, the largest file in a folder, which only an unfinished training needs."""
    (folder / names.RESUME_FILE).unlink(missing_ok=True)


def clear_staging(folder: Path) -> None:
    """Removes files that a killed worker left half-written in a training's folder."""
    for path in folder.glob(".*.partial-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
