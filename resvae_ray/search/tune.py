"""A search from its start, or from where it stopped, to its end.

A restart does not use Ray's own snapshot of an experiment, which is seconds old when a driver is killed: running trials
are lost, finished ones run again. Every session is a new experiment for Ray. What to go on with is read from the
study's journal, ASHA's rungs are filled from the values in it, and a trial finds its state in its own folder.
"""

import logging
import os
import platform
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from ray import tune as ray_tune
from ray.tune.experiment import Trial

from resvae_ray import names
from resvae_ray._version import __version__
from resvae_ray.cluster import ray_session
from resvae_ray.config import Config, load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import choose_mode
from resvae_ray.errors import DataError, Interrupted, JobError, UsageError
from resvae_ray.search.export import export_best
from resvae_ray.search.optimizer import StudySearch, open_study, start_study, unfinished
from resvae_ray.search.progress import Progress
from resvae_ray.search.recorder import Recorder, clear_staging, forget_resume
from resvae_ray.search.resources import Slots, plan_slots
from resvae_ray.search.run import Run, refuse_existing_run
from resvae_ray.search.scheduler import DurableASHA, history_of
from resvae_ray.search.space import first_proposal
from resvae_ray.search.tensorboard import TensorBoard
from resvae_ray.search.trial import Job, run_trial
from resvae_ray.storage import local_target, replace_folder

PACKAGES = ("torch", "ray", "optuna", "numpy", "pyarrow", "pandas", "safetensors")
MAY_CHANGE = ("trials", "max_hours", "max_failures", "checkpoint_every_s")  # of [search], when a search is resumed


def tune(
    dataset: str | Path,
    run: str | Path,
    config: Config | str | Path | None = None,
    *,
    resume: bool = False,
) -> Run:
    """Searches the best Res-VAE for a DATASET and keeps everything in a RUN folder.

    Args:
        config: a Config, a scenario's name or a TOML file; the paper's scenario if not given. With `resume`, the
            recorded one if not given, else it may differ in trials, limits and resources only.
        resume: go on with the search in `run`; more trials than it had extend it.

    Returns:
        The RUN; its best model lies in RUN/model.

    Raises:
        UsageError: a folder that holds another run, a configuration that does not fit, too few resources.
        DataError: no DATASET, or with `resume` another one than before.
        JobError: every trial failed.
        Interrupted: the user stopped it; it can be resumed.
    """
    data = Dataset.open(dataset)
    with ExitStack() as stack:
        if resume:
            known = Run.open(run)
            stack.enter_context(known.lock())
            resolved = resumed_config(known, data, config)
        else:
            known, resolved = None, _resolved(data, config)
            refuse_existing_run(local_target(run))
        resources = stack.enter_context(ray_session(resolved.resources.address))
        slots = plan_slots(resolved.resources, resources, resolved.search.trials)
        if known is None:
            # Nothing was written so far: what could be refused has been refused.
            known = Run.create(run, resolved, data, _about())
            stack.enter_context(known.lock())
        known = known.begin_session(resolved, _session(slots, resources))
        interrupted = _search(known, data, slots)
    return _finish(known, interrupted)


def resumed_config(run: Run, dataset: Dataset, config: Config | str | Path | None) -> Config:
    """The configuration with which a search goes on.

    Raises:
        UsageError: it differs from the recorded one in what may not change.
        DataError: the DATASET is not the one that the search began with.
    """
    if (fingerprint := run.info["dataset"]["fingerprint"]) != dataset.fingerprint:
        raise DataError(
            f"{dataset.path}: its content (fingerprint {dataset.fingerprint}) is not what {run.path} was started with "
            f"({fingerprint})"
        )
    if config is None:
        return run.config
    given = config if isinstance(config, Config) else load_config(config)
    allowed = replace(
        run.config,
        search=replace(run.config.search, **{name: getattr(given.search, name) for name in MAY_CHANGE}),
        resources=given.resources,
    )
    if allowed != given:
        raise UsageError(f"{run.path}: was started with {_difference(run.config, given)}; a change needs a new run")
    return given


def _difference(recorded: Config, given: Config) -> str:
    for section in fields(Config):
        old, new = getattr(recorded, section.name), getattr(given, section.name)
        if old != new and section.name not in ("resources",):
            if not hasattr(old, "__dataclass_fields__"):
                return f"{section.name} = {old}, not {new}"
            for name in asdict(old):
                if getattr(old, name) != getattr(new, name) and name not in MAY_CHANGE:
                    return f"{section.name}.{name} = {getattr(old, name)}, not {getattr(new, name)}"
    return "another configuration"


def _resolved(dataset: Dataset, config: Config | str | Path | None) -> Config:
    given = config if isinstance(config, Config) else Config() if config is None else load_config(config)
    if given.search.try_first:
        first_proposal(given)
    return replace(given, data=replace(given.data, mode=choose_mode(dataset, given.data)))


def _about() -> dict[str, Any]:
    return {"study": f"resvae-{uuid.uuid4().hex[:12]}", "resvae_ray": __version__, "created": _utc()}


def _session(slots: Slots, resources: Mapping[str, float]) -> dict[str, Any]:
    """What is worth knowing of a session later: when, with which versions, on what."""
    return {
        "started": _utc(),
        "resvae_ray": __version__,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": {
            "host": platform.node(),
            "system": platform.platform(),
            "cluster": {name: amount for name, amount in resources.items() if not name.startswith("node:")},
        },
        "slots": asdict(slots),
    }


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _search(run: Run, dataset: Dataset, slots: Slots) -> bool:
    """Runs the trials that are left; whether the user stopped it."""
    study = open_study(run.path / names.JOURNAL_FILE, run.info["study"])
    start_study(study, run.config)
    take_up = unfinished(study)
    _tidy(run, take_up)
    begun = sum(trial.state != optuna.trial.TrialState.WAITING for trial in study.get_trials(deepcopy=False))
    left = len(take_up) + max(0, run.config.search.trials - begun)
    if not left:
        return False
    scheduler = DurableASHA(run.config, history_of(study))
    with ExitStack() as stack:
        callbacks: list[ray_tune.Callback] = [
            stack.enter_context(closing(kind(run))) for kind in (Recorder, TensorBoard, Progress)
        ]
        tuner = ray_tune.Tuner(
            ray_tune.with_resources(run_trial, {"cpu": slots.cpus, "gpu": slots.gpus}),
            param_space={"job": asdict(_job(run, dataset, slots, scheduler))},
            tune_config=ray_tune.TuneConfig(
                search_alg=StudySearch(study, run.config, take_up),
                scheduler=scheduler,
                num_samples=left,
                max_concurrent_trials=slots.concurrent,
                time_budget_s=run.config.search.max_hours * 3600 or None,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=ray_tune.RunConfig(
                name=names.TUNE_FOLDER,
                storage_path=str(run.path),
                callbacks=callbacks,
                failure_config=ray_tune.FailureConfig(max_failures=run.config.search.max_failures),
                verbose=0,
            ),
        )
        with _quiet(), _stoppable() as stop:
            tuner.fit()
    return stop.is_set()


def _tidy(run: Run, take_up: list[int]) -> None:
    """Removes what killed processes left behind."""
    for folder in (run.path / names.TRIALS_FOLDER).glob("*"):
        clear_staging(run, int(folder.name))
        if int(folder.name) not in take_up:
            forget_resume(run, int(folder.name))


def _job(run: Run, dataset: Dataset, slots: Slots, scheduler: DurableASHA) -> Job:
    config = run.config
    return Job(
        dataset=str(dataset.path),
        fingerprint=dataset.fingerprint,
        trials_folder=str(run.path / names.TRIALS_FOLDER),
        training=asdict(config.training),
        data=asdict(config.data),
        seed=config.search.seed,
        save_epochs=tuple(scheduler.rung_epochs()),
        save_every_s=config.search.checkpoint_every_s,
        threads=slots.threads,
        gpu=slots.gpus > 0,
    )


def _trial_name(trial: Trial) -> str:
    return f"trial_{trial.config[names.NUMBER]:04d}"


def _finish(run: Run, interrupted: bool) -> Run:
    run.write_tables()
    status = run.status()
    if interrupted:
        raise Interrupted(f"stopped; go on with: resvae-ray tune {run.info['dataset']['path']} {run.path} --resume")
    if status["best"] is None and not status["failures"]:
        raise JobError(f"{run.path}: --max-hours was over before the first epoch; go on with --resume and more of them")
    if status["best"] is None:
        raise JobError(f"{run.path}: no trial came through; the first one: {status['failures'][0][names.FAILURE]}")
    with replace_folder(run.path / names.MODEL_FOLDER) as folder:
        export_best(run, folder)
    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray's own reports go where ours say better what happened."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask Tune to stop in good order, which it does on SIGUSR1; a second one stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def stop(number: int, frame: object) -> None:
        if asked.is_set() or signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, signal.SIG_IGN):
            raise KeyboardInterrupt
        asked.set()
        os.kill(os.getpid(), signal.SIGUSR1)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers[:2]:
            signal.signal(number, stop)
        yield asked
    finally:
        for number in numbers:
            signal.signal(number, before[number])
