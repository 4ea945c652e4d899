"""The location of a file or folder: a `LocalPlace` on a disk or a `BucketPlace` in a bucket, with the same methods.

place("run")                 # LocalPlace, an absolute pathlib.Path
place("s3://bucket/run")     # BucketPlace; exists, is_file, read_text, / and so on work on either

A user's string is parsed once, by `place` or `place_to_write`, where it enters the package.

Nobody sees half of a file. On a disk it is written under a temporary name and renamed, see atomic.py. For a bucket it
is written to a temporary folder of this machine and uploaded when it is whole: a stream to a bucket that is closed
early, by an error or Ctrl-C, would leave its beginning there as if it were all. While the files of a folder are
uploaded, the object `_uploading` is in it.
"""

import os
import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PosixPath, PurePath
from typing import Any, Self

from pyarrow import fs as pafs

from resvae_ray.errors import DataError, JobError, UsageError, first_line
from resvae_ray.files import atomic
from resvae_ray.files.s3 import S3, in_bucket
from resvae_ray.names import UPLOADING

PART_BYTES = 8 << 20  # of a file that is uploaded or downloaded at a time


class Place(ABC):
    """A file or folder, which need not exist. The first group of methods is that of `pathlib.Path`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the path."""

    @property
    @abstractmethod
    def suffix(self) -> str:
        """The ending of the name, with its dot."""

    @abstractmethod
    def __truediv__(self, name: str) -> Self: ...

    @abstractmethod
    def with_name(self, name: str) -> Self:
        """The place called `name` beside it.

        Raises:
            UsageError: it is a whole bucket.
        """

    @abstractmethod
    def exists(self) -> bool:
        """Whether it is a file or a folder."""

    @abstractmethod
    def is_file(self) -> bool:
        """Whether it is a file."""

    @abstractmethod
    def is_dir(self) -> bool:
        """Whether it is a folder. A bucket has only folders with a file in them."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The whole content.

        Raises:
            FileNotFoundError: no such file.
        """

    @abstractmethod
    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """The whole content, decoded; see `read_bytes`."""

    @abstractmethod
    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file.

        Raises:
            FileNotFoundError: no such file, unless `missing_ok`.
        """

    @property
    @abstractmethod
    def local(self) -> Path | None:
        """The path on this machine's disks and mounts; None in a bucket."""

    @abstractmethod
    def located(self) -> tuple[pafs.FileSystem, str]:
        """The file system for pyarrow, and the path on it."""

    @abstractmethod
    def file_names(self) -> set[str]:
        """The names of all files below it, relative to it."""

    @abstractmethod
    def contains(self, other: "Place") -> bool:
        """Whether it is a folder, and `other` is that folder or lies in it."""

    @abstractmethod
    def local_copy(self) -> AbstractContextManager[Path]:
        """The file on this machine: itself, or a copy that is removed afterwards.

        Raises:
            DataError: no such file in the bucket.
        """

    @abstractmethod
    def staged_file(self) -> AbstractContextManager[Path]:
        """A temporary path; on leaving without an error, the file written there replaces this one in one step."""

    @abstractmethod
    def staged_folder(self, last: str = "") -> AbstractContextManager[Path]:
        """A new folder; on leaving without an error it becomes this one, else it is removed.

        Args:
            last: the file that makes the folder valid; in a bucket, the last to appear.

        Raises:
            UsageError: it exists and is not an empty folder, or a disk is mounted there.
        """

    @abstractmethod
    def remove_folder(self) -> None:
        """Removes the folder with all that is in it, if it exists."""

    @abstractmethod
    def refuse_existing(self, besides: str = "") -> None:
        """
        Args:
            besides: the name of a file that the folder may hold.

        Raises:
            UsageError: it is a file, or a folder that is not empty.
        """

    @abstractmethod
    def require_name(self) -> None:
        """
        Raises:
            UsageError: it is a whole bucket, which is never written to.
        """

    def write_json(self, content: Any) -> None:
        """Replaces the file by `content` as JSON, in one step."""
        with self.staged_file() as staging:
            # Not `atomic.write_json`, whose own temporary file would be left in the folder by a kill, under a name that
            # no later run knows as its own.
            staging.write_text(atomic.as_json(content))


class LocalPlace(PosixPath, Place):
    """A path on a disk or a mounted file system."""

    @property
    def local(self) -> Path:
        return self

    def located(self) -> tuple[pafs.FileSystem, str]:
        return pafs.LocalFileSystem(), str(self)

    def file_names(self) -> set[str]:
        return {path.relative_to(self).as_posix() for path in self.rglob("*") if path.is_file()}

    def contains(self, other: Place) -> bool:
        return other.local is not None and self.is_dir() and other.local.resolve().is_relative_to(self.resolve())

    def local_copy(self) -> AbstractContextManager[Path]:
        return nullcontext(self)

    def staged_file(self) -> AbstractContextManager[Path]:
        return atomic.staged_file(self)

    def staged_folder(self, last: str = "") -> AbstractContextManager[Path]:
        return atomic.staged_folder(self)

    def remove_folder(self) -> None:
        shutil.rmtree(self, ignore_errors=True)

    def refuse_existing(self, besides: str = "") -> None:
        atomic.refuse_existing(self, besides)

    def require_name(self) -> None:
        pass


@dataclass(frozen=True)
class BucketPlace(Place):
    """An object in a bucket, or a folder, which exists as long as an object is below it.

    Attributes:
        uri: with its scheme, without a slash at the end.

    Every method that looks raises JobError if the bucket cannot be reached.
    """

    uri: str

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> "BucketPlace":
        return BucketPlace(f"{self.uri}/{name}")

    @property
    def name(self) -> str:
        return self.uri.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return PurePath(self.name).suffix

    @property
    def local(self) -> None:
        return

    def with_name(self, name: str) -> "BucketPlace":
        self.require_name()
        return BucketPlace(f"{self.uri.rpartition('/')[0]}/{name}")

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        return self._info().is_file

    def is_dir(self) -> bool:
        return bool(self.files())

    def located(self) -> tuple[pafs.FileSystem, str]:
        return locate(self.uri)

    def files(self) -> dict[str, pafs.FileInfo]:
        """All files below it, by their names relative to it."""
        filesystem, path = self.located()
        with reaching(self):
            found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
        return {info.path.removeprefix(f"{path}/"): info for info in found if info.is_file}

    def file_names(self) -> set[str]:
        return set(self.files())

    def contains(self, other: Place) -> bool:
        return f"{other}/".startswith(f"{self}/")

    def written(self) -> int:
        """The time of the last write in nanoseconds since 1970, by the bucket's clock; 0 if the file does not exist."""
        return self._info().mtime_ns or 0

    def read_bytes(self) -> bytes:
        filesystem, path = self.located()
        with reaching(self), filesystem.open_input_file(path) as file:
            return file.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def write_bytes(self, content: bytes) -> None:
        """Replaces the file in one step."""
        filesystem, path = self.located()
        with reaching(self), filesystem.open_output_stream(path) as file:
            file.write(content)

    def upload(self, source: Path) -> None:
        """Replaces the file by `source` in one step.

        Another thread sends it: Ctrl-C, which would close a stream and leave its beginning as if it were all, reaches
        the main thread alone, which waits for that one. `pyarrow.fs.copy_files` drops an error of the last request.
        """
        with ThreadPoolExecutor(1) as beside:
            beside.submit(self._send, source).result()

    def _send(self, source: Path) -> None:
        filesystem, path = self.located()
        with reaching(self), source.open("rb") as file, filesystem.open_output_stream(path) as target:
            while content := file.read(PART_BYTES):
                target.write(content)

    def download(self, target: Path) -> None:
        """Replaces the file `target` by this one.

        Raises:
            DataError: no such file.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._copy(*self.located(), pafs.LocalFileSystem(), str(target))
        except FileNotFoundError:
            raise DataError(f"{self}: no such file") from None

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        with self._temporary() as copy:
            self.download(copy)
            yield copy

    @contextmanager
    def staged_file(self) -> Iterator[Path]:
        with self._temporary() as staging:
            yield staging
            self.upload(staging)

    @contextmanager
    def staged_folder(self, last: str = "") -> Iterator[Path]:
        self.refuse_existing()
        with self._temporary() as staging:
            staging.mkdir()
            yield staging
            self._upload_folder(staging, last)

    def unlink(self, missing_ok: bool = False) -> None:
        filesystem, path = self.located()
        try:
            with reaching(self):
                filesystem.delete_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_folder(self) -> None:
        filesystem, path = self.located()
        try:
            with reaching(self):
                filesystem.delete_dir(path)
        except FileNotFoundError:
            pass

    def refuse_existing(self, besides: str = "") -> None:
        held = self.file_names()
        if UPLOADING in held:
            raise UsageError(f"{self}: is being written, or was when that was interrupted; remove it to begin anew")
        if self.is_file() or held - {besides}:
            raise UsageError(f"{self}: already there; choose another name, or remove it first")

    def require_name(self) -> None:
        if "/" not in self.uri.partition("://")[2]:
            raise UsageError(f"{self}: a bucket as a whole is not written to; expected {self}/NAME")

    def _info(self) -> pafs.FileInfo:
        filesystem, path = self.located()
        with reaching(self):
            return filesystem.get_file_info(path)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """A path of its name in a folder of this machine that is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="resvae_ray-") as folder:
            yield Path(folder) / self.name

    def _upload_folder(self, source: Path, last: str) -> None:
        """Uploads all files of a folder; readers refuse the folder until the last one is there."""
        files = sorted(file for file in source.rglob("*") if file.is_file())
        marker = self / UPLOADING
        marker.write_bytes(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        for file in sorted(files, key=lambda file: file == source / last):
            (self / file.relative_to(source).as_posix()).upload(file)
        marker.unlink()

    def _copy(self, source: pafs.FileSystem, path: str, target: pafs.FileSystem, to: str) -> None:
        """One call outside Python, which Ctrl-C cannot end in the middle."""
        with reaching(self):
            pafs.copy_files(path, to, source_filesystem=source, destination_filesystem=target, chunk_size=PART_BYTES)


AnyPath = str | Path | Place  # how a user may name a file or folder


def place(path: AnyPath) -> Place:
    """The place that a user names by a path or a URI. A path without a scheme is local and made absolute.

    Raises:
        UsageError: unknown scheme, or a name that no bucket can have.
        JobError: the storage cannot be reached.
    """
    if isinstance(path, Place):
        return path
    filesystem, found = locate(path)
    return LocalPlace(found) if isinstance(filesystem, pafs.LocalFileSystem) else BucketPlace(str(path).rstrip("/"))


def place_to_write(path: AnyPath) -> Place:
    """`place` of a file or folder to write.

    Raises:
        UsageError: unknown scheme, or a bucket without a name in it.
        JobError: the storage cannot be reached.
    """
    if str(path).startswith(S3):  # before the storage is asked, which takes a network
        BucketPlace(str(path).rstrip("/")).require_name()
    where = place(path)
    where.require_name()
    return where


def local_target(path: str | Path) -> LocalPlace:
    """The place of a file or folder to write that has to be local.

    Raises:
        UsageError: `path` is a URI.
    """
    if "://" in str(path):
        raise UsageError(f"{path}: this is written to a local or mounted folder; give a path without a scheme")
    return LocalPlace(os.path.abspath(os.path.expanduser(path)))


def refuse_inside(target: Place, source: AnyPath) -> None:
    """
    Raises:
        UsageError: `target` lies in the folder `source`, and would be read as a part of it.
    """
    if place(source).contains(target):
        raise UsageError(f"{target}: lies in {source}, and would be read as a part of it; choose another place")


def locate(path: AnyPath) -> tuple[pafs.FileSystem, str]:
    """The file system of `path`, which may be a glob, and the path on it. A path without a scheme is local.

    For s3:// see `in_bucket`.

    Raises:
        UsageError: unknown scheme, or a name that no bucket can have.
        JobError: the storage cannot be reached, or the bucket does not exist.
    """
    text = str(path)
    if "://" not in text:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text))
    if text.startswith(S3):
        with reaching(text):
            return in_bucket(text)
    try:
        with reaching(text):
            return pafs.FileSystem.from_uri(text)
    except JobError:
        raise
    except Exception as error:
        raise UsageError(f"{text}: not a path or URI that can be opened: {error}") from None


@contextmanager
def reaching(path: AnyPath) -> Iterator[None]:
    """
    Raises:
        JobError: the storage of `path` cannot be reached, or refuses access.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise JobError(f"{path}: cannot be reached: {first_line(error)}") from None


def is_lost(error: Exception) -> bool:
    """Whether reading failed on the way to the storage; otherwise the file is at fault."""
    return isinstance(error, OSError) and "AWS Error" in str(error)
