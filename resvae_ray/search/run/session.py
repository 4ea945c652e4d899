"""A session: the right to write in a RUN, from its creation or from where an earlier session left it."""

import os
import platform
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from resvae_ray import names
from resvae_ray._version import __version__
from resvae_ray.config import Config
from resvae_ray.data.dataset import Dataset
from resvae_ray.files.place import place
from resvae_ray.search.resources import NodeResources, Slots
from resvae_ray.search.run.bucket_copy import BucketCopy, working_copy
from resvae_ray.search.run.lock import hold, hold_in_bucket
from resvae_ray.search.run.run import Run, refuse_existing_run
from resvae_ray.search.run.trainings import training_folder

PACKAGES = ("torch", "ray", "optuna", "numpy", "pyarrow", "pandas", "safetensors")


def about_search() -> dict[str, Any]:
    """The facts of a new search: the name of its study, its user, and its start (UTC)."""
    return {"study": f"resvae-{uuid.uuid4().hex[:12]}", "resvae_ray": __version__, "created": _utc()}


def about_session(slots: Slots, nodes: Sequence[NodeResources]) -> dict[str, Any]:
    """The facts of a new or resumed session: start (UTC), versions, machine, nodes and slots."""
    return {
        "started": _utc(),
        "resvae_ray": __version__,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": {
            "host": platform.node(),
            "system": platform.platform(),
            "nodes": [{name: node[name] for name in ("CPU", "GPU", "memory") if name in node} for node in nodes],
        },
        "slots": asdict(slots),
    }


def _utc() -> str:
    return time.strftime(names.TIME_FORMAT, time.gmtime())


@contextmanager
def created(path: str | Path, config: Config, dataset: Dataset, about: dict[str, Any]) -> Iterator[Run]:
    """A new RUN, locked against other writers; see `Run.create`.

    Raises:
        UsageError: the folder holds something already, or another process has just begun there.
    """
    where = place(path)
    if copy := working_copy(where):
        with _held(copy):
            yield Run.create(where, config, dataset, about, copy)
        return
    refuse_existing_run(where)
    folder = Path(str(where))
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / names.LOCK_FILE):
        yield Run.create(where, config, dataset, about)


@contextmanager
def taken_up(path: str | Path) -> Iterator[Run]:
    """An existing RUN, locked against other writers.

    Raises:
        DataError: the folder is not a RUN.
        UsageError: another process writes in it.
    """
    where = place(path)
    if copy := working_copy(where):
        Run.open(where)
        with _held(copy):
            copy.take_up()
            run = Run.read(where, copy)
            copy.forget_unknown(_last_epochs(run), _paused(run))
            yield run
        return
    with Run.open(where).lock():
        yield Run.open(where)


@contextmanager
def _held(copy: BucketCopy) -> Iterator[None]:
    """Locks the copy and the RUN in the bucket."""

    def lose(other: str) -> None:
        copy.taken_by = other
        # A shell that starts a process in the background has it ignore SIGINT.
        ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM if ignored else signal.SIGINT)

    with hold_in_bucket(copy.home / names.LOCK_FILE, lose) as confirm:
        copy.confirm = confirm
        copy.folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the copy, which may be replaced.
        with hold(copy.folder.parent / names.LOCK_FILE):
            yield


def _paused(run: Run) -> set[str]:
    """The folders of the paused trials."""
    paused = (trial.number for trial in run.records() if trial.state == names.PAUSED)
    return {training_folder(Path(), number).as_posix() for number in paused}


def _last_epochs(run: Run) -> dict[str, int | None]:
    """The last epoch recorded of each training, None for one that has ended, by its folder."""
    trainings = [*run.records(), *(repeat for finalist in run.finalists() for repeat in finalist.repeats)]
    return {
        training_folder(Path(), each.number, each.repeat).as_posix(): None if each.ended else each.last_epoch
        for each in trainings
    }
