"""Who works in a RUN folder: one process, which holds a file lock there and shows that it lives.

The lock ends with its process, however that ends, but is only sure to be seen on the machine where it is held. So the
process also renews the time of the lock file, and readers on other machines go by its age.
"""

import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from resvae_ray.errors import UsageError

logger = logging.getLogger(__name__)

BEAT_S = 15.0  # between two signs of life
SILENCE_S = 180.0  # after which a process on another machine is taken for dead; network folders show a minute's delay
TRIES = 5  # for the lock, since a reader holds it for an instant to see whether it is free
TRY_S = 0.1


@dataclass(frozen=True)
class Worker:
    """The process that works in a folder, or did until it was killed.

    Attributes:
        who: its number and machine.
        seen_s: seconds since its last sign of life.
        alive: whether it is at work now.
    """

    who: str
    seen_s: float
    alive: bool


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Holds the lock file at `path`.

    Raises:
        UsageError: another process holds it.
    """
    with path.open("a+") as file:
        _acquire(file, path)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            with signs_of_life(partial(_beat, path)):
                yield
        finally:
            file.truncate(0)


@contextmanager
def signs_of_life(beat: Callable[[threading.Event], None]) -> Iterator[None]:
    """Lets `beat` give them beside the work, until its event is set."""
    ended = threading.Event()
    beating = threading.Thread(target=beat, args=(ended,), name="signs of life", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()


def worker(path: Path) -> Worker | None:
    """Who works by the lock file at `path`, or did until it was killed; None if the last one ended in good order."""
    try:
        with path.open() as file:
            who, held = file.read().strip(), _is_held(file)
            age = time.time() - os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    if not who and not held:
        return None
    sure = held is not None and who.endswith(f" on {socket.gethostname()}")
    return Worker(who or "a process", round(max(0.0, age), 1), bool(held) or (age < SILENCE_S and not sure))


def _acquire(file: IO[str], path: Path) -> None:
    for left in reversed(range(TRIES)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if left:
                time.sleep(TRY_S)
        except OSError as error:
            logger.warning("%s: no file locks here (%s); see to it that only one search runs", path.parent, error)
            return
    file.seek(0)
    raise UsageError(f"{path.parent}: a search is running in it ({file.read().strip()})")


def _is_held(file: IO[str]) -> bool | None:
    """Whether another process holds it; None where there are no file locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        # Where the folder cannot be reached, the search itself will say so.
        with suppress(OSError):
            os.utime(path)
