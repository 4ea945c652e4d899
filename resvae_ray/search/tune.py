"""A search from its start, or from where it stopped, to its end.

A restart does not use Ray's own snapshot of an experiment. That snapshot is seconds old when a driver is killed, so it
loses running trials and repeats finished ones. Every session is a new experiment for Ray. The study's journal lists the
trials to resume and the values that fill ASHA's rungs. Each trial resumes from its own folder.
"""

import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.data.dataset import Dataset
from resvae_ray.errors import JobError, UsageError
from resvae_ray.files.place import place, place_to_write
from resvae_ray.on_ray.cluster import DRIVER_SIGNALS, ray_session
from resvae_ray.search.resources import plan_slots
from resvae_ray.search.resume import first_config, resumed_config
from resvae_ray.search.run.lock import require_lockable
from resvae_ray.search.run.run import Run, refuse_existing_run
from resvae_ray.search.run.session import about_search, about_session, created, taken_up
from resvae_ray.search.warm_start import proposals_like

# Packages of a search that are slow to import. Ray is not among them: two threads must not import parts of one package.
SLOW_IMPORTS = ("torch", "pandas", "optuna", "tensorboard.plugins.hparams.summary_v2")


def tune(
    dataset: str | Path,
    run: str | Path,
    config: Config | str | Path | None = None,
    *,
    resume: bool = False,
    tensorboard: bool = False,
    like: str | Path | None = None,
) -> Run:
    """Searches for the best Res-VAE for a DATASET and records everything in a RUN folder.

    Args:
        config: a Config, a scenario's name or a TOML file; the paper's scenario if not given. With `resume`, the
            recorded one if not given, else it may differ in trials, limits and resources only.
        resume: resume the search in `run`; a larger number of trials extends it.
        tensorboard: run a TensorBoard beside the search, on loopback, and print its address to stderr.
        like: an earlier RUN, on other data; the best of its trials are the first proposals.

    Returns:
        The RUN; its best model is in RUN/model.

    Raises:
        UsageError: the folder holds another run, the configuration is invalid, or there are too few resources.
        DataError: there is no DATASET, or with `resume`, it has changed.
        JobError: every trial failed, or Ray failed.
        Interrupted: the user stopped it; it can be resumed.
    """
    if resume and like is not None:
        raise UsageError("--like is for a new search; remove it, or remove --resume")
    data, about = Dataset.open(dataset), about_search()
    with ExitStack() as stack:
        if resume:
            known = stack.enter_context(taken_up(run))
            resolved = resumed_config(known, data, config)
        else:
            known, resolved = None, first_config(data, config)
            resolved.require_trainable()
            if like is not None:
                about["like"] = {"run": str(like), "proposals": proposals_like(like, resolved)}
            where = place_to_write(run)
            refuse_existing_run(where)
            require_lockable(where)
        with _imported_meanwhile():
            nodes = stack.enter_context(ray_session(resolved.resources.address))
        from resvae_ray.search.carry_out import carry_out
        from resvae_ray.search.run.disk_space import require_space
        from resvae_ray.search.study import reopened

        slots = plan_slots(resolved.resources, nodes, resolved.search.most_trials)
        require_space(place(run), resolved, data.dim, slots.concurrent)
        if known is None:
            # All checks have passed, and nothing has been written yet.
            known = stack.enter_context(created(run, resolved, data, about))
        study = reopened(known.path / names.JOURNAL_FILE, known.info["study"], resolved) if resume else None
        known = known.begin_session(resolved, data, about_session(slots, nodes), study)
        with _sent_at_last(known):
            return carry_out(known, data, slots, tensorboard)


@contextmanager
def _imported_meanwhile() -> Iterator[None]:
    """Imports SLOW_IMPORTS in a thread, while Ray starts, which is mostly waiting for its processes."""

    def work() -> None:
        # As in the main thread while Ray starts: a signal must wait until Ray's own handler is gone.
        signal.pthread_sigmask(signal.SIG_BLOCK, DRIVER_SIGNALS)
        for name in SLOW_IMPORTS:
            with suppress(Exception):  # the import that needs it says why it fails
                importlib.import_module(name)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def _sent_at_last(run: Run) -> Iterator[None]:
    """Uploads the remaining files at the end. If that fails too, the first error takes precedence."""
    try:
        yield
    except BaseException:
        try:
            run.send()
        except JobError as error:
            if run.copy and run.copy.taken_by:
                raise
            print(f"{error}; the files not uploaded are in {run.path}; retry with --resume", file=sys.stderr)
        raise
    run.send()
