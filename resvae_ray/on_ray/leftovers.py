"""The folder of a local Ray: its logs and sockets, removed with what is left of its processes when the work is over.

Ray leaves the folder of every session behind, and does not end the processes of a killed driver. Each of
our folders has a lock file. Its driver holds the lock as long as it lives, and the file names the driver: the next
driver can then recognize leftover folders.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from resvae_ray.errors import JobError, first_line

PREFIX = "resvae-"
PLACE_MOST = 27  # bytes: a socket's path has at most 107, of which the folder takes 16 and Ray 64
LOCK = "driver.lock"
ENDING_S = 10.0  # for processes to end by themselves and to be gone
BEGINNING_S = 3600.0  # after which a folder that never got its name was left by a killed driver
FREE_BYTES = 64 << 20  # that Ray's logs may need
BOOT = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Driver:
    """Identifies a process uniquely, across hosts and containers.

    Attributes:
        host: its host name.
        boot: Linux's id of the host's last start.
        namespace: of process numbers, which differs between containers.
        process: its number.
        started: when, in ticks since the host started.
    """

    host: str
    boot: str
    namespace: str
    process: int
    started: int

    @classmethod
    def here(cls) -> "Driver":
        """The process that asks."""
        return cls(socket.gethostname(), *_place_of_processes(), os.getpid(), _start_of(os.getpid()) or 0)

    @classmethod
    def read(cls, lock: IO[str]) -> "Driver":
        """The driver that a lock file names.

        Raises:
            ValueError: it names none.
        """
        try:
            return cls(**json.load(lock))
        except TypeError as error:
            raise ValueError(str(error)) from None

    def is_dead(self) -> bool:
        """Whether it has certainly ended; False for a process on another host or in another container."""
        here = (socket.gethostname(), *_place_of_processes())
        return (self.host, self.boot, self.namespace) == here and _start_of(self.process) != self.started


@contextmanager
def session_folder() -> Iterator[Path]:
    """A folder for a local Ray, of the user alone; those that killed drivers of this user left behind are removed.

    It is removed at the end, with all processes that still write there.

    Raises:
        JobError: no folder can hold it.
    """
    place = choose_place()
    remove_leftovers()
    folder, lock = _locked_folder(place)
    with lock:
        try:
            yield folder
        finally:
            _remove(folder)


def remove_leftovers() -> None:
    """Removes the folders of drivers that were killed, and ends what is left of their processes."""
    place = choose_place()
    for path in place.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError, ValueError), path.open("r+") as lock:
            if os.fstat(lock.fileno()).st_uid == os.getuid() and Driver.read(lock).is_dead():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock.fileno()), path.stat()):  # else another driver removed it meanwhile
                    _remove(path.parent)
    for folder in place.glob(f".{PREFIX}*"):
        with suppress(OSError):
            about = folder.stat()
            if about.st_uid == os.getuid() and time.time() - about.st_mtime > BEGINNING_S:
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()


def choose_place() -> Path:
    """The folder for Ray's files: RAY_TMPDIR, TMPDIR or /tmp, the first that can hold them.

    Raises:
        JobError: none can; the message says of each why.
    """
    refused = []
    for name, folder in _candidates():
        if not (reason := _unfit(folder)):
            return folder
        refused.append(f"{name}{folder} {reason}")
    raise JobError(
        f"Ray has no folder for its files: {'; '.join(refused)}; set TMPDIR to a folder with {FREE_BYTES >> 20} MB "
        f"free and a path of up to {PLACE_MOST} bytes"
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    """Folders to try, each with the variable that names it."""
    for name in ("RAY_TMPDIR", "TMPDIR") if sys.platform.startswith("linux") else ("RAY_TMPDIR",):
        if folder := os.environ.get(name):
            yield f"{name}=", Path(os.path.abspath(folder))
    for folder in ("/tmp", "/var/tmp"):  # noqa: S108 - by mkdtemp
        yield "", Path(folder)


def _unfit(folder: Path) -> str:
    """Why Ray's files cannot be put there; empty if they can."""
    if len(os.fsencode(folder)) > PLACE_MOST:
        return f"has a path of more than {PLACE_MOST} bytes"  # Ray would not start
    try:
        free = shutil.disk_usage(folder).free
        if free < FREE_BYTES:
            return f"has {free >> 20} MB free"
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 65536)  # a quota may be used up
    except OSError as error:
        return f"cannot be used ({error.strerror or first_line(error)})"
    return ""


def _locked_folder(place: Path) -> tuple[Path, IO[str]]:
    """A new folder and its lock file, which is held.

    It gets its name only then: other drivers look at all folders of that name, and take one without a lock for a
    leftover.
    """
    begun = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=place))
    lock = (begun / LOCK).open("w")
    try:
        with suppress(OSError):  # without file locks here, no other driver removes the folder
            fcntl.flock(lock, fcntl.LOCK_EX)
        json.dump(asdict(Driver.here()), lock)
        lock.flush()
        return begun.rename(place / begun.name.removeprefix(".")), lock
    except BaseException:
        lock.close()
        shutil.rmtree(begun, ignore_errors=True)
        raise


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + ENDING_S
    while (at_work := processes_in(folder)) and time.monotonic() < deadline:
        for process in at_work:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    # The lock goes last: until then another driver may finish what this one began.
    for path in folder.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def processes_in(folder: Path) -> list[int]:
    """The user's other processes that write to files in `folder`, as all of Ray's do; excludes readers.

    The lock file does not count: other drivers open it, to see whether its own is dead.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is not ours
            if int(entry.name) != os.getpid() and entry.stat().st_uid == os.getuid() and _writes_in(entry, folder):
                found.append(int(entry.name))
    return found


def _writes_in(process: Path, folder: Path) -> bool:
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            path = os.readlink(descriptor).removesuffix(" (deleted)")
            if path.startswith(f"{folder}/") and path != f"{folder}/{LOCK}":
                flags = (process / "fdinfo" / descriptor.name).read_text().partition("flags:")[2].split()[0]
                if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
    return False


def _place_of_processes() -> tuple[str, str]:
    """The host's start and the namespace within which process numbers are this process's; empty where not Linux."""
    try:
        return BOOT.read_text().strip(), os.readlink(PID_NAMESPACE)
    except OSError:
        return "", ""


def _start_of(process: int) -> int | None:
    """When it started, in ticks; 0 if the system does not report it, None if the process has ended."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else int(fields[18])
    except (OSError, ValueError):
        if sys.platform.startswith("linux"):
            return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return 0
