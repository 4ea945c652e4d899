"""The lock of a RUN: one process holds it and sends a sign of life every 15 s.

On a disk, the lock is a file lock. It always ends with its process, but other machines may not see it. So the process
also updates the time of the lock file, and other machines check its age.

In a bucket, the lock is an object, written conditionally. A process creates it only if it does not exist, and renews or
takes it over only if it has not changed since it was read. So if two searches begin at once, one fails. The age of the
object comes from the server's clock, so a wrong local clock cannot declare a search dead.
"""

import fcntl
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from resvae_ray.errors import JobError, UsageError
from resvae_ray.files.atomic import is_alive
from resvae_ray.files.conditional_object import ConditionalObject
from resvae_ray.files.place import BucketPlace, Place
from resvae_ray.on_ray.leftovers import Driver

logger = logging.getLogger(__name__)

BEAT_S = 15.0  # between two signs of life
SILENCE_S = 180.0  # then a process on another machine counts as dead; network folders lag by up to a minute
TRIES = 5  # for the lock, since a reader holds it for an instant to see whether it is free
TRY_S = 0.1


@dataclass(frozen=True)
class Worker:
    """The process that writes in a folder, or did until it was killed.

    Attributes:
        who: its process id and machine.
        seen_s: seconds since its last sign of life.
        alive: whether it is running now.
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
    """Runs `beat` in a thread, and sets its event at the end."""
    ended = threading.Event()
    beating = threading.Thread(target=beat, args=(ended,), name="signs of life", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()


def worker(path: Path) -> Worker | None:
    """The process that holds the lock file at `path`, or held it when killed; None if it was released."""
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
            logger.warning("%s: no file locks here (%s); make sure that only one search runs", path.parent, error)
            return
    file.seek(0)
    raise UsageError(f"{path.parent}: a search is running in it ({file.read().strip()})")


def _is_held(file: IO[str]) -> bool | None:
    """Whether another process holds the lock; None without file lock support."""
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


@contextmanager
def hold_in_bucket(lock: BucketPlace, on_loss: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Holds the lock object.

    Args:
        on_loss: called with the name of the process that has the lock now, if this one was silent for so long that
            another took it.

    Yields:
        To be called before each write to the RUN. After a long silence, such as that of a suspended laptop, it checks
        that no other process has taken the lock, and calls `on_loss` if one has.

    Raises:
        UsageError: another process holds it, or the server has no conditional writes.
        JobError: the bucket cannot be reached.
    """
    held = _LockObject(lock)
    held.acquire()
    try:
        with signs_of_life(partial(held.beat, on_loss)):
            yield partial(held.confirm, on_loss)
    finally:
        held.release()


def require_lockable(run: Place) -> None:
    """Checks before a search begins that its RUN can be locked.

    Raises:
        UsageError: `run` is in a bucket, and boto3 is missing or the bucket is not S3's.
    """
    if isinstance(run, BucketPlace):
        ConditionalObject(run)


def worker_in_bucket(lock: BucketPlace) -> Worker | None:
    """The process that holds the lock object, or held it when killed; None if it was released.

    Its age is by this machine's clock, so that it can be read without boto3.
    """
    try:
        content, written = lock.read_bytes(), lock.written()
    except FileNotFoundError:
        return None
    if not (who := _name(content)):
        return None
    age = max(0.0, time.time() - written / 1e9)
    return Worker(who, round(age, 1), _is_alive(content, age))


class _LockObject:
    """The lock object of a RUN in a bucket, as this process holds it.

    Its content is the process name, what distinguishes it from processes of that name on other machines, and a counter
    that each sign of life increments. So an unchanged ETag means that the same process holds the lock and has been
    silent.
    """

    def __init__(self, lock: BucketPlace) -> None:
        self._lock, self._object = lock, ConditionalObject(lock)
        here = Driver.here()
        about = "/".join([here.boot, here.namespace, str(here.started), uuid.uuid4().hex])
        self._me = f"process {here.process} on {here.host} {about}-".encode()
        self._beats, self._etag, self._written = 0, "", 0.0
        self._renewing, self._lost = threading.Lock(), False

    def acquire(self) -> None:
        """Takes the lock, also one whose holder is dead.

        Raises:
            UsageError: another process holds it or takes it right now, or the server has no conditional writes.
            JobError: the bucket cannot be read or written.
        """
        found = self._object.read()
        if found and (who := _name(found.content)) and _is_alive(found.content, found.age_s):
            raise UsageError(
                f"{self._lock}: a search is running there ({who}, last sign of life {found.age_s:.0f} s ago); if it is "
                f"dead, --resume works {SILENCE_S:.0f} s after that"
            )
        if not self._write(found.etag if found else None):
            now = self._object.read()
            who = _name(now.content) if now else "a process that has ended"
            raise UsageError(
                f"{self._lock}: another search ({who}) has begun there at the same moment, or is alive though it was "
                "silent for long"
            )
        try:
            self._object.require_conditions(self._content())
        except UsageError:
            self._lock.unlink(missing_ok=True)
            raise

    def beat(self, on_loss: Callable[[str], None], ended: threading.Event) -> None:
        """Gives a sign of life every BEAT_S seconds, until `ended` is set or another process has the lock."""
        while not ended.wait(BEAT_S):
            # Where the bucket cannot be reached, the search itself will say so.
            with suppress(JobError):
                if self._is_lost(on_loss):
                    return

    def confirm(self, on_loss: Callable[[str], None]) -> None:
        """Gives a sign of life if the last one is so old that another process may have taken the lock."""
        if self._silence_s() >= SILENCE_S:
            self._is_lost(on_loss)

    def _is_lost(self, on_loss: Callable[[str], None]) -> bool:
        """Gives a sign of life. Returns whether another process has the lock; calls `on_loss` only once."""
        with self._renewing:
            if not self._lost and (other := self._renew()):
                self._lost = True
                on_loss(other)
            return self._lost

    def release(self) -> None:
        """Removes the lock if this process still holds it. If that fails, it expires after SILENCE_S seconds."""
        try:
            found = self._object.read()
            if found and found.content.startswith(self._me):
                self._object.remove(found.etag)
        except JobError as error:
            # The process ends here, so this error must not hide the reason.
            logger.warning("%s; other machines take the search for alive for another %.0f s", error, SILENCE_S)

    def _renew(self) -> str:
        """A sign of life; the name of the process that has taken the lock, if there is one."""
        self._beats += 1
        if self._write(self._etag):
            return ""
        found = self._object.read()
        # A process that took over removes the object when it ends. Only after a silence can one have taken over.
        if found is None and self._silence_s() < SILENCE_S and self._write(None):
            return ""
        return (found and _name(found.content)) or "another process"

    def _silence_s(self) -> float:
        """Seconds since the last sign of life, the time of a suspended machine included."""
        return time.time() - self._written

    def _write(self, etag: str | None) -> bool:
        """Writes the object if it has this ETag, or for None if there is none; whether this process has it now."""
        content = self._content()
        new = self._object.create(content) if etag is None else self._object.replace(content, etag)
        if new is None and (found := self._object.read()) and found.content.startswith(self._me):
            new = found.etag  # written by an earlier attempt whose answer was lost
        if new is None:
            return False
        self._etag, self._written = new, time.time()
        return True

    def _content(self) -> bytes:
        return self._me + f"{self._beats}\n".encode()


def _is_alive(content: bytes, age_s: float) -> bool:
    """Whether the process that wrote a lock object is alive, by the object's age or, on this machine, by its number."""
    return age_s < SILENCE_S and not _is_dead(content)


def _is_dead(content: bytes) -> bool:
    """Whether it was a process of this machine that has ended. Machines may share a host name, and containers too."""
    number, _, host = _name(content).removeprefix("process ").partition(" on ")
    about = content.decode(errors="replace").rpartition(" ")[2].split("/")
    if not number.isdigit():
        return False
    if len(about) == 4 and about[2].isdigit():
        return Driver(host, about[0], about[1], int(number), int(about[2])).is_dead()
    return host == socket.gethostname() and not is_alive(int(number))  # as version 0.1.0 wrote it


def _name(content: bytes) -> str:
    return content.decode(errors="replace").rpartition(" ")[0]
