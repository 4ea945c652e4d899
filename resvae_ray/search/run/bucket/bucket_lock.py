"""Who works in a RUN of a bucket: one process, whose name is in an object there that it renews.

A bucket has no locks, and pyarrow none of S3's conditional writes. So this is Fischer's protocol: look that nobody is
there, write a name, wait, and hold the lock if the name is still there. Of two that begin at once the one that wrote
first finds the other's name. It is right if nobody takes longer to look and write than all wait, which is measured:
who was slower does not go on. S3 shows a write to all who read after it.

By a clock that is ahead, everybody else is silent for long. So who is taken for dead by the clock is watched without it
before the lock is taken.
"""

import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from resvae_ray.errors import JobError, UsageError
from resvae_ray.files.atomic import is_alive
from resvae_ray.files.place import Remote
from resvae_ray.search.run.lock import BEAT_S, SILENCE_S, Worker, signs_of_life

logger = logging.getLogger(__name__)

SETTLE_S = 2.0  # that all wait
WATCH_S = 2 * BEAT_S  # in which who is alive gives a sign of life


@contextmanager
def hold_in_bucket(lock: Remote, on_loss: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock object; signs of life renew it.

    Args:
        on_loss: told who has the lock now, if this process was silent for so long that it was taken for dead.

    Raises:
        UsageError: another process holds it, or was alive a short time ago.
        JobError: the bucket cannot be reached, or is too slow.
    """
    mine = f"process {os.getpid()} on {socket.gethostname()} {uuid.uuid4().hex}\n".encode()
    _write_first(lock, mine)
    time.sleep(SETTLE_S)
    if _content(lock) != mine:
        raise UsageError(f"{lock}: another search has begun there at the same moment")
    try:
        with signs_of_life(partial(_beat, lock, mine, on_loss)):
            yield
    finally:
        _release(lock, mine)


def worker_in_bucket(lock: Remote) -> Worker | None:
    """Who works by the lock object, or did until it was killed; None if the last one ended in good order."""
    if not (who := _name(_content(lock))):
        return None
    age = max(0.0, lock.age(time.time()))
    return Worker(who, round(age, 1), age < SILENCE_S and not _is_gone(who))


def _write_first(lock: Remote, mine: bytes) -> None:
    left = _left_by_dead(lock)
    began = time.monotonic()
    content = _content(lock)
    if (who := _name(content)) and (content, lock.written()) != left:
        raise UsageError(
            f"{lock}: a search is running there ({who}), which has just begun, or given a sign of life though it "
            "seemed to be dead, as by a clock that is ahead"
        )
    lock.write_bytes(mine)
    if (took := time.monotonic() - began) > SETTLE_S:
        _release(lock, mine)
        raise JobError(
            f"{lock}: written in {took:.1f} s, and only within {SETTLE_S:g} s is it sure that no other search begins "
            "there; try again"
        )


def _left_by_dead(lock: Remote) -> tuple[bytes, int]:
    """What a killed process has left, after watching that it stays so; nothing if nobody works there."""
    left = _content(lock), lock.written()
    if (found := worker_in_bucket(lock)) is None:
        return b"", 0
    if found.alive:
        raise UsageError(
            f"{lock}: a search is running there ({found.who}, last sign of life {found.seen_s:.0f} s ago); if it is "
            f"dead, --resume goes on when {SILENCE_S:.0f} s have passed"
        )
    if not _is_gone(found.who):
        print(f"{found.who} seems to be dead; watching for {WATCH_S:.0f} s whether it is", file=sys.stderr)
        time.sleep(WATCH_S)
    return left


def _release(lock: Remote, mine: bytes) -> None:
    try:
        if _content(lock) == mine:
            lock.unlink(missing_ok=True)
    except JobError as error:
        # Its process has ended, or gives no more signs of life: no reason to hide why.
        logger.warning("%s; until %.0f s have passed, other machines take the search for alive", error, SILENCE_S)


def _is_gone(who: str) -> bool:
    """Whether it was a process of this machine that has ended."""
    number, _, host = who.removeprefix("process ").partition(" on ")
    return host == socket.gethostname() and number.isdigit() and not is_alive(int(number))


def _name(content: bytes) -> str:
    return content.decode(errors="replace").rpartition(" ")[0]


def _content(lock: Remote) -> bytes:
    try:
        return lock.read_bytes()
    except FileNotFoundError:
        return b""


def _beat(lock: Remote, mine: bytes, on_loss: Callable[[str], None], ended: threading.Event) -> None:
    last = time.time()
    while not ended.wait(BEAT_S):
        # Where the bucket cannot be reached, the search itself will say so.
        with suppress(JobError):
            looked, found = time.time(), _content(lock)
            if found not in (mine, b""):
                on_loss(_name(found))
                return
            lock.write_bytes(mine)
            if time.time() - last > SILENCE_S and time.time() - looked > SETTLE_S:
                # Stopped between the two: who took the lock meanwhile has lost its name, and will stop too.
                on_loss("another process, perhaps,")
                return
            last = looked
