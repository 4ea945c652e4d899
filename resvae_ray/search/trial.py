"""The function that Ray runs for each training, a trial or a retraining of a finalist: train, save, report every epoch.

A trial reads its data from Parquet and its state from its own folder, so it does not matter why it starts: for the
first time, after its worker was killed, or in a search that was resumed on other machines. A trial that runs out of
memory is retried once with less.
"""

import ctypes
import errno
import gc
import logging
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from ray import tune

from resvae_ray import names
from resvae_ray.config import DataConfig, TrainingConfig
from resvae_ray.data.dataset import STREAM, Dataset
from resvae_ray.data.stream import Rows, open_sides
from resvae_ray.errors import DataError, JobError, first_line, system_line
from resvae_ray.files.place import Place, place
from resvae_ray.model.principal import metric_for
from resvae_ray.model.training import Diverged, Training
from resvae_ray.search.ray_tune.failures import refuse_another
from resvae_ray.search.run.checkpoints import CheckpointFolder, checkpoint_folder
from resvae_ray.search.run.trainings import training_folder
from resvae_ray.search.worker_report import Epoch, Failed, Fault, TrainingTask, task_of
from resvae_ray.seeds import FINALIST, TRIAL, derive

logger = logging.getLogger(__name__)

ALLOCATORS = re.compile(r"can't allocate memory|out of memory", re.IGNORECASE)  # torch's on the CPU; CUDA's own words

Result = TypeVar("Result")


class ShortOfMemory(JobError):
    """Memory ran out, even with the rows streamed."""


def with_less_if_short(usual: Callable[[], Result], frugal: Callable[[], Result]) -> Result:
    """The result of `usual()`, or of `frugal()` if `usual()` runs out of memory.

    Raises:
        ShortOfMemory: `frugal()` also ran out of memory.
    """
    reason = ""
    try:
        return usual()
    except Exception as error:
        if not ran_out(error):
            raise
        reason = first_line(error)
    # Only here are the error and the objects in its frames released.
    gc.collect()
    give_back()
    logger.warning("out of memory, another attempt with less of it: %s", reason)
    try:
        return frugal()
    except Exception as error:
        if not ran_out(error):
            raise
        raise ShortOfMemory(f"out of memory, also with its rows streamed: {first_line(error)}") from None


def ran_out(error: Exception) -> bool:
    """Whether an error reports that the machine or a GPU ran out of memory."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and ALLOCATORS.search(str(error)) is not None)


def give_back() -> None:
    """Returns unused memory to the system and to other processes on the GPU.

    glibc keeps freed memory between two blocks in use. A process that trains networks of many widths accumulates such
    memory: 60 to 200 MB per trial at 1,500 units (benchmarks/RESULTS.md).
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's alone
        libc.malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


STOP_TIMEOUT_S = 60
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # errors of a disk that fails every trial until it is fixed


@dataclass(frozen=True)
class TrainingJob:
    """The settings that all trials of a search share, as plain data for a worker.

    Attributes:
        dataset: the DATASET's folder.
        fingerprint: of the DATASET's content.
        run: the RUN's folder.
        training, data: the configuration; a trial's proposal replaces fields of `training`.
        seed: of the search.
        save_epochs: the epochs after which a trial is saved in any case.
        save_every_s: the number of seconds between other saves.
        threads: CPU threads of a trial.
        gpu: whether a trial has a share of a GPU.
    """

    dataset: str
    fingerprint: str
    run: str
    training: dict[str, Any]
    data: dict[str, Any]
    seed: int
    save_epochs: tuple[int, ...]
    save_every_s: float
    threads: int
    gpu: bool


def run_training(config: dict[str, Any]) -> None:
    """Trains the task in a configuration of Ray Tune's for the search `config["job"]`.

    A retraining has its own seed and records its result.
    """
    job, task = TrainingJob(**config["job"]), task_of(config)
    folder = training_folder(place(job.run), task.number, task.repeat)
    refuse_another(config)
    with _faults_reported():
        if task.repeat is None:
            _run(job, task, derive(TRIAL, job.seed, task.number), folder)
            return
        result = _run(job, task, derive(FINALIST, job.seed, task.number, task.repeat), folder)
        (folder / names.RESULT_FILE).write_json(result)
        (folder / names.RESUME_FILE).unlink(missing_ok=True)


@contextmanager
def _faults_reported() -> Iterator[None]:
    # Ray reuses this process for the next trial; the default of 2 s for ending this one may be too short for an epoch's
    # last write, and would abort the next trial.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = str(STOP_TIMEOUT_S)
    try:
        yield
    except DataError as error:
        # A fault in the data or in a folder affects all trials.
        tune.report(Fault(str(error)).as_result())
    except OSError as error:
        if error.errno not in FULL:
            raise
        tune.report(Fault(system_line(error)).as_result())


def _run(job: TrainingJob, task: TrainingTask, seed: int, folder: Place) -> dict[str, Any]:
    """Trains until the task pauses or ends; the metrics of the last epoch, with the reason if it failed there."""

    def attempt(data: dict[str, Any]) -> dict[str, Any]:
        return _attempt(job, task, seed, folder, data)

    give_back()  # memory of the previous trial in this process
    try:
        return with_less_if_short(lambda: attempt(job.data), lambda: attempt(_frugal(job.data)))
    except ShortOfMemory as error:
        failure = Failed(str(error), short_of_memory=True).as_result()
        tune.report(failure)
        return failure


def _frugal(data: dict[str, Any]) -> dict[str, Any]:
    """The data configuration that needs the least memory. It does not change the training."""
    _rows.cache_clear()
    return data | {"mode": STREAM}


def _attempt(job: TrainingJob, task: TrainingTask, seed: int, folder: Place, data: dict[str, Any]) -> dict[str, Any]:
    """Trains from the state in the trial's folder."""
    _require_run(job)
    torch.set_num_threads(job.threads)
    device = "cuda" if job.gpu and torch.cuda.is_available() else "cpu"
    train, val = _rows(job.dataset, job.fingerprint, tuple(data.items()), device)
    config, metric = TrainingConfig(**(job.training | task.params)), metric_for(TrainingConfig(**job.training), train)
    with checkpoint_folder(folder) as kept:
        training = _taken_up(lambda: Training(config, train, val, seed, device, metric), kept.folder)
        if training.epoch > task.paused_at:
            # The process may have been killed after it saved this epoch and before it reported it.
            tune.report(Epoch(training.last, device=training.device.type).as_result())
        return _train(training, kept, job, task.until or training.config.epochs)


def _require_run(job: TrainingJob) -> None:
    if not (place(job.run) / names.RUN_FILE).exists():
        raise DataError(
            f"{job.run}: cannot be seen on {platform.node()}; a cluster needs a folder that all nodes share"
        )


def _train(training: Training, kept: CheckpointFolder, job: TrainingJob, until: int) -> dict[str, Any]:
    """Trains until the epoch `until`, or to the end of the training if that comes first."""
    saved = time.monotonic()
    try:
        for metrics in training.epochs(until):
            last = training.has_ended or training.epoch == until
            if last or training.epoch in job.save_epochs or time.monotonic() - saved >= job.save_every_s:
                if place(job.run).local is not None:
                    _require_run(job)  # else it would be saved below a mount that has vanished
                training.save(kept.folder)
                kept.send()
                saved = time.monotonic()
            tune.report(Epoch(metrics, device=training.device.type).as_result())
    except Diverged as error:
        training.save_best(kept.folder)
        kept.send()
        failure = Failed(str(error), last=training.last).as_result()
        tune.report(failure)
        return failure
    return training.last


def _taken_up(begin: Callable[[], Training], folder: Path) -> Training:
    """The training that was saved in the folder, or a new one."""
    training = begin()
    try:
        training.resume(folder)
    except DataError as error:
        logger.warning("the trial starts anew, its checkpoint cannot be used: %s", error)
        return begin()
    return training


@lru_cache(maxsize=1)
def _rows(dataset: str, fingerprint: str, data: tuple[tuple[str, Any], ...], device: str) -> tuple[Rows, Rows]:
    """The rows, kept for the next trial in this process."""
    opened = Dataset.open(dataset)
    if opened.fingerprint != fingerprint:
        raise DataError(f"{dataset}: its content is not what the search began with")
    return open_sides(opened, DataConfig(**dict(data)), device)
