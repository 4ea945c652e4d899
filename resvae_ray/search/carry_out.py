"""The trials and finalists of a search, on a Ray that runs, and the model that they come to."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import asdict

import optuna
from optuna.trial import TrialState
from ray.exceptions import OutOfMemoryError, RayError
from ray.tune.error import TuneError
from ray.tune.experiment import Trial

from resvae_ray import names
from resvae_ray.config import AUTO, PROMOTE, Config
from resvae_ray.data.dataset import RESIDENT, STREAM, Dataset
from resvae_ray.errors import Interrupted, JobError, first_line, system_line
from resvae_ray.files.atomic import replace_folder
from resvae_ray.search.asha import DurableASHA, history_of
from resvae_ray.search.callbacks.console import ConsoleProgress
from resvae_ray.search.callbacks.projector import show_latents
from resvae_ray.search.callbacks.recorder import Recorder, Sender, clear_staging, forget_resume
from resvae_ray.search.callbacks.tensorboard import TensorBoard, board_of
from resvae_ray.search.callbacks.tensorboard_server import tensorboard_server
from resvae_ray.search.enough_trials import trials_to_begin
from resvae_ray.search.export import export_best
from resvae_ray.search.final_round import train_finalists
from resvae_ray.search.promotion import Ladder
from resvae_ray.search.ray_tune.experiment import run_experiment
from resvae_ray.search.resources import Slots
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import training_folder, trial_folders
from resvae_ray.search.rungs import rung_epochs
from resvae_ray.search.study import open_study, paused, start_study, unfinished
from resvae_ray.search.tpe import PromotingSearch, StudySearch
from resvae_ray.search.trial import TrainingJob, run_training
from resvae_ray.search.worker_report import TrainingTask, task_of
from resvae_ray.wording import count


def carry_out(run: Run, dataset: Dataset, slots: Slots, tensorboard: bool) -> Run:
    """Runs what is left of a search, and exports its best model.

    Raises:
        JobError: every trial failed, or Ray failed.
        Interrupted: the user stopped it; it can be resumed.
    """
    board = tensorboard_server(run.path / names.TUNE_FOLDER) if tensorboard else nullcontext()
    started = time.monotonic()
    try:
        with board:
            stopped = _patiently(run, lambda: _all_trained(run, dataset, slots, started))
            return _finish(run, dataset, stopped)
    except JobError:
        with suppress(OSError, JobError):  # the error already reports the full disk or lost bucket
            run.write_tables()
        raise
    except BrokenPipeError:
        raise
    except OSError as error:
        raise JobError(f"{system_line(error, run.path)}; fix that, then resume with: {run.resume_command}") from None
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; resume with: {run.resume_command}") from None
    except (RayError, TuneError) as error:
        raise JobError(f"Ray gave up: {_reason(error)}; resume with: {run.resume_command}") from error


def _reason(error: RayError | TuneError) -> str:
    """A one-line reason: a task's own error, or the last line of Tune's traceback."""
    if isinstance(error, TuneError):
        return str(error).strip().splitlines()[-1]
    return first_line(getattr(error, "cause", None) or error)


def _patiently(run: Run, work: Callable[[], bool]) -> bool:
    """Runs `work`, and repeats it after Ray kills workers for memory, as long as trainings end or pause each time."""
    while True:
        before = _come_to(run)
        try:
            return work()
        except OutOfMemoryError as error:
            if _come_to(run) == before:
                raise
            print(f"{first_line(error).rstrip('.')}: resuming from the checkpoints", file=sys.stderr)


def _come_to(run: Run) -> tuple[int, list[int]]:
    """The trainings left, and the epochs of the trials that are paused; if neither changes, nothing was finished."""
    return run.trainings_left(), [trial.last_epoch for trial in run.records() if trial.state == names.PAUSED]


def _all_trained(run: Run, dataset: Dataset, slots: Slots, started: float) -> bool:
    """Runs the remaining trials and finalists. Returns whether the user stopped it."""
    if _search(run, dataset, slots, started):
        return True
    job = _job(run, dataset, slots, save_epochs=())
    return train_finalists(run, job, slots, _seconds_left(run, started))


def _seconds_left(run: Run, started: float) -> float | None:
    """Seconds until --max-hours ends, at least 0.1; None without that limit."""
    limit = run.config.search.max_hours * 3600
    return max(0.1, started + limit - time.monotonic()) if limit else None


def _search(run: Run, dataset: Dataset, slots: Slots, started: float) -> bool:
    """Runs the remaining trials. Returns whether the user stopped it.

    Raises:
        JobError: a fault affects all trials.
    """
    study = open_study(run.path / names.JOURNAL_FILE, run.info["study"])
    start_study(study, run.config, run.info.get("like", {}).get("proposals", ()))
    while left := _left(study, run.config):
        stopped = _experiment(run, dataset, slots, study, left, _seconds_left(run, started))
        # Trials that ran when the last one was refused may have found a better loss: more may pay again.
        if stopped or unfinished(study):
            return stopped
    _prune_paused(run, study)
    return False


def _left(study: optuna.Study, config: Config) -> int:
    """The number of trials that will begin or continue, as far as that is known."""
    left = len(unfinished(study)) + trials_to_begin(study, config.search)
    if not left and config.search.scheduler == PROMOTE:
        return int(Ladder(config).promoted(study.get_trials(deepcopy=False), ending=True) is not None)
    return left


def _prune_paused(run: Run, study: optuna.Study) -> None:
    """Ends the trials that still wait at a rung when no trial is left to run."""
    board, trials = TensorBoard(run), study.get_trials(deepcopy=False)
    for number in paused(study):
        task = TrainingTask(number, trials[number].params)
        forget_resume(training_folder(run.where, number))
        board.started(task)
        board.ended(task, None)
        study.tell(number, state=TrialState.PRUNED)


def _experiment(
    run: Run, dataset: Dataset, slots: Slots, study: optuna.Study, left: int, seconds: float | None
) -> bool:
    take_up = unfinished(study)
    _tidy(run, [*take_up, *paused(study)])
    _announce(run, dataset, slots, left)
    rungs = rung_epochs(run.config)
    if run.config.search.scheduler == PROMOTE:
        search, scheduler = PromotingSearch(study, run.config, take_up), None
        left = run.config.search.most_trials * (len(rungs) + 1)  # the most stretches from one rung to the next
    else:
        search, scheduler = StudySearch(study, run.config, take_up), DurableASHA(run.config, history_of(study))
    with ExitStack() as stack:
        recorder = stack.enter_context(closing(Recorder(run)))
        progress = stack.enter_context(closing(ConsoleProgress(run, slots.gpus > 0)))
        return run_experiment(
            run,
            run_training,
            {"job": asdict(_job(run, dataset, slots, save_epochs=tuple(rungs)))},
            slots,
            name_of=_folder_name,
            callbacks=[recorder, TensorBoard(run), progress, Sender(run)],
            seconds=seconds,
            search_alg=search,
            scheduler=scheduler,
            num_samples=left,
        )


def _announce(run: Run, dataset: Dataset, slots: Slots, left: int) -> None:
    share = f"{slots.cpus:g} CPU" + (f" and {slots.gpus:g} GPU" if slots.gpus else "")
    rows = f"{dataset.train_rows:,} + {dataset.val_rows:,} rows x {dataset.dim}"
    held = {RESIDENT: "held in memory", STREAM: "streamed from Parquet"}[run.config.data.mode]
    trials = ("up to " if run.config.search.trials == AUTO else "") + count(left, "trial")
    print(
        f"{trials} of up to {run.config.training.epochs} epochs, {slots.concurrent} at a time with {share} each; "
        f"{rows}, {held}\nfollow it with: resvae-ray status {run.where}, or tensorboard --logdir "
        f"{run.path / names.TUNE_FOLDER}",
        file=sys.stderr,
    )


def _tidy(run: Run, resumable: list[int]) -> None:
    """Removes files that killed processes left, and the states of all trials but `resumable`."""
    for number, folder in trial_folders(run.path).items():
        clear_staging(folder)
        if number not in resumable:
            forget_resume(training_folder(run.where, number))


def _job(run: Run, dataset: Dataset, slots: Slots, save_epochs: tuple[int, ...]) -> TrainingJob:
    return TrainingJob(
        dataset=str(dataset.path),
        fingerprint=dataset.fingerprint,
        run=str(run.where),
        training=asdict(run.config.training),
        data=asdict(run.config.data),
        seed=run.config.search.seed,
        save_epochs=save_epochs,
        save_every_s=run.config.search.checkpoint_every_s,
        threads=slots.threads,
        gpu=slots.gpus > 0,
    )


def _folder_name(trial: Trial) -> str:
    """TensorBoard's own, so that a trial has one folder."""
    return board_of(task_of(trial.config)).folder


def _finish(run: Run, dataset: Dataset, stopped: bool) -> Run:
    run.write_tables()
    status = run.standing()
    if stopped and run.trainings_left():
        raise Interrupted(f"stopped; resume with: {run.resume_command}")
    if status.best is None and not status.failures:
        raise JobError(f"{run.where}: --max-hours ended before the first epoch; use --resume with a larger --max-hours")
    if status.best is None:
        raise JobError(f"{run.where}: every trial failed; the first failure: {status.failures[0][names.FAILURE]}")
    with replace_folder(run.path / names.MODEL_FOLDER) as folder:
        export_best(run, folder)
    show_latents(run, dataset)
    return run
