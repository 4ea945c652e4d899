"""The folder of a local Ray: its logs and sockets, removed with what is left of its processes when the work is over.

Ray itself leaves the folder of every session behind, and what a killed driver leaves nobody ends. Each of our folders
has a lock that its driver holds as long as it lives, so the next one knows which are left over.
"""

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "resvae-"
PLACE_MOST = 27  # bytes: a socket's path has at most 107, of which the folder takes 16 and Ray 64
LOCK = "driver.lock"
ENDING_S = 10.0  # that processes get to end by themselves and to be gone


@contextmanager
def session_folder() -> Iterator[Path]:
    """A folder for a local Ray, of the user alone; those that killed drivers of this user left behind are removed.

    It is removed at the end, with all processes that still write there.
    """
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place()))
    with (folder / LOCK).open("w") as file:
        with suppress(OSError):  # no file locks here: then nobody removes it for us
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            _remove(folder)


def remove_leftovers() -> None:
    """Removes the folders of drivers that were killed, and ends what is left of their processes."""
    for lock in _place().glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), lock.open("r+") as file:
            if os.fstat(file.fileno()).st_uid == os.getuid():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock.parent)


def _place() -> Path:
    """Where Ray would put its files, but where the path of its sockets would be too long for the system."""
    names = ("RAY_TMPDIR", "TMPDIR") if sys.platform.startswith("linux") else ("RAY_TMPDIR",)
    wanted = next(filter(None, map(os.environ.get, names)), "")
    return Path(wanted if wanted and len(os.fsencode(wanted)) <= PLACE_MOST else "/tmp")  # noqa: S108 - by mkdtemp


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
    """The user's other processes that write to files in `folder`, as all of Ray's do; who reads there is not meant."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is not ours
            if int(entry.name) != os.getpid() and entry.stat().st_uid == os.getuid() and _writes_in(entry, folder):
                found.append(int(entry.name))
    return found


def _writes_in(process: Path, folder: Path) -> bool:
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            if os.readlink(descriptor).startswith(f"{folder}/"):
                flags = (process / "fdinfo" / descriptor.name).read_text().partition("flags:")[2].split()[0]
                if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
    return False
