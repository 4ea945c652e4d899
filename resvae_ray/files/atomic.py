"""Files and folders on a disk, replaced in one step: written under a temporary name, flushed, then renamed.

For a path that may also be in a bucket, see place.py.
"""

import ctypes
import glob
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from resvae_ray.errors import DataError, UsageError

AT_WORKING_FOLDER, EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


class Readable(Protocol):
    """A file whose text can be read: a `Path`, or a place in a bucket."""

    def read_text(self) -> str:
        """The whole content."""
        ...


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """A temporary path; on leaving without an error, the file written there replaces `target` in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = _staging(target)
    try:
        yield staging
        # Some writers make files that only their owner may read.
        staging.chmod(0o666 & ~_umask())
        _flush(staging)
        os.replace(staging, target)
        _flush(target.parent)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A new folder; on leaving without an error it becomes `target`, else it is removed.

    Raises:
        UsageError: `target` exists and is not an empty folder, or a disk is mounted there.
    """
    refuse_existing(target)
    target = target.resolve()
    if target.is_mount():
        raise UsageError(f"{target}: a disk is mounted there, and nothing can take its place; name a folder in it")
    staging = _staging(target)
    staging.mkdir(parents=True)
    try:
        yield staging
        for file in staging.rglob("*"):
            _flush(file)
        if target.exists():
            refuse_existing(target)
            _remove_left(target)
            target.rmdir()
        os.rename(staging, target)
        _flush(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """A path for a new folder; on leaving without an error it takes the place of `target`."""
    staging = _staging(target)
    fresh = staging / target.name
    staging.mkdir(parents=True)
    try:
        yield fresh
        if not target.exists():
            os.rename(fresh, target)
        elif not _exchange(fresh, target):
            os.rename(target, staging / "old")
            os.rename(fresh, target)
        _flush(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Gives two paths each other's names in one step; whether this system and its storage can."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    return not renameat2(AT_WORKING_FOLDER, os.fsencode(one), AT_WORKING_FOLDER, os.fsencode(other), EXCHANGE)


def _staging(target: Path) -> Path:
    """A name beside `target` that only this process uses; what killed processes of this host left there is removed."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.partial-*"):
        if _is_left(left):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return target.parent / f".{target.name}.partial-{socket.gethostname()}-{os.getpid()}"


def _is_left(path: Path) -> bool:
    """Whether it is what a killed process of this host has half-written."""
    writer = path.name.partition(f".partial-{socket.gethostname()}-")[2]
    return writer.isdigit() and (int(writer) == os.getpid() or not is_alive(int(writer)))


def _remove_left(folder: Path) -> None:
    """Removes only the unfinished files of killed processes."""
    for path in filter(_is_left, list(folder.iterdir())):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _umask() -> int:
    """The process's mask for new files; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def refuse_existing(target: Path, besides: str = "") -> None:
    """
    Args:
        besides: the name of a file that the folder may hold.

    Raises:
        UsageError: `target` is a file, or a folder that is not empty.
    """
    if target.is_file() or (target.is_dir() and _held_by(target) - {besides}):
        raise UsageError(f"{target}: already there; choose another name, or remove it first")


def _held_by(folder: Path) -> set[str]:
    """The names in a folder, without the half-written files of killed processes."""
    return {path.name for path in folder.iterdir() if not _is_left(path)}


def write_text(target: Path, text: str) -> None:
    """Replaces `target` by a file with `text`, in one step."""
    with staged_file(target) as staging:
        staging.write_text(text)


def write_json(target: Path, content: Any) -> None:
    """Replaces `target` by `content` as JSON, in one step."""
    write_text(target, as_json(content))


def as_json(content: Any) -> str:
    """The text of a JSON file."""
    return json.dumps(content, indent=2) + "\n"


def read_json(path: Readable) -> Any:
    """
    Raises:
        DataError: no such file, or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None


def cut_torn_line(path: Path) -> None:
    """Removes an incomplete last line of a killed writer, so that the next append starts a new line."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
            os.fsync(file.fileno())


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
