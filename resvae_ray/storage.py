"""Files: where they are (local, mounted or s3://), and how they are written so that nobody ever sees half of one.

Everything that is written goes to a temporary name beside its target, is flushed to the disk and then renamed.
"""

import ctypes
import fnmatch
import glob
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow import fs as pafs

from resvae_ray.errors import DataError, JobError, UsageError, first_line

AT_WORKING_FOLDER, EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def locate(path: str | Path) -> tuple[pafs.FileSystem, str]:
    """The file system of `path` and the path on it. A path without a scheme is local and made absolute.

    Raises:
        UsageError: the scheme is unknown.
        JobError: the storage cannot be reached.
    """
    text = str(path)
    if "://" not in text:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text))
    try:
        with reaching(text):
            return pafs.FileSystem.from_uri(text)
    except JobError:
        raise
    except Exception as error:
        raise UsageError(f"{text}: not a path or URI that can be opened: {error}") from None


@contextmanager
def reaching(path: str | Path) -> Iterator[None]:
    """
    Raises:
        JobError: the storage on which `path` is cannot be reached, or does not let us look.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise JobError(f"{path}: cannot be reached: {first_line(error)}") from None


def list_files(path: str | Path, suffix: str) -> tuple[pafs.FileSystem, list[str]]:
    """The files with `suffix` that `path` stands for, sorted: one file, all below a folder, or those a glob matches.

    Names that begin with '.' or '_' are passed over below a folder, as Parquet readers do.

    Raises:
        DataError: nothing is there, or no file with the suffix.
        JobError: the storage cannot be reached.
    """
    filesystem, place = locate(path)
    with reaching(path):
        found = _found(filesystem, place, suffix)
    if found is None:
        raise DataError(f"{path}: no such file or folder")
    if not found:
        raise DataError(f"{path}: no {suffix} file there")
    return filesystem, sorted(found)


def _found(filesystem: pafs.FileSystem, place: str, suffix: str) -> list[str] | None:
    kind = filesystem.get_file_info(place).type
    if kind == pafs.FileType.File:
        return [place]
    if kind == pafs.FileType.Directory:
        return _below(filesystem, place, suffix)
    return _matches(filesystem, place) if any(sign in place for sign in "*?[") else None


def _matches(filesystem: pafs.FileSystem, pattern: str) -> list[str]:
    if isinstance(filesystem, pafs.LocalFileSystem):
        return [path for path in glob.glob(pattern) if os.path.isfile(path)]
    folder = pattern[: min(pattern.index(sign) for sign in "*?[" if sign in pattern)].rpartition("/")[0]
    selector = pafs.FileSelector(folder, recursive=True)
    return [i.path for i in filesystem.get_file_info(selector) if i.is_file and fnmatch.fnmatchcase(i.path, pattern)]


def _below(filesystem: pafs.FileSystem, folder: str, suffix: str) -> list[str]:
    def visible(path: str) -> bool:
        return not any(part[0] in "._" for part in path.removeprefix(folder).strip("/").split("/"))

    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True))
    return [i.path for i in infos if i.is_file and i.path.endswith(suffix) and visible(i.path)]


def local_target(path: str | Path) -> Path:
    """`path` as an absolute local path to write to.

    Raises:
        UsageError: it is a URI.
    """
    if "://" in str(path):
        raise UsageError(f"{path}: results are written to a local or mounted folder; give a path without a scheme")
    return Path(os.path.abspath(os.path.expanduser(path)))


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`; on leaving, the file written there replaces `target` in one step."""
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
    """A new folder beside `target`; on leaving without an error it becomes `target`, else it is removed.

    Raises:
        UsageError: `target` is there already and is not an empty folder.
    """
    refuse_existing(target)
    staging = _staging(target)
    staging.mkdir(parents=True)
    try:
        yield staging
        for file in staging.rglob("*"):
            _flush(file)
        if target.exists():
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
    return writer.isdigit() and (int(writer) == os.getpid() or not _is_alive(int(writer)))


def _umask() -> int:
    """The process's mask for new files; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def refuse_existing(target: Path) -> None:
    """
    Raises:
        UsageError: `target` is a file or a folder with something in it.
    """
    if target.is_file() or (target.is_dir() and not all(map(_is_left, target.iterdir()))):
        raise UsageError(f"{target}: already there; choose another name, or remove it first")


def write_text(target: Path, text: str) -> None:
    """Replaces `target` by a file with `text`, in one step."""
    with staged_file(target) as staging:
        staging.write_text(text)


def write_json(target: Path, content: Any) -> None:
    """Replaces `target` by `content` as JSON, in one step."""
    write_text(target, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
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
    """Removes what a killed writer left of a last line, so that the next line starts where a line starts."""
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
