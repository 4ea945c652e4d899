"""Files in a bucket: where they are, with the part of pathlib.Path's interface that is used here.

place("run")                 # an absolute Path
place("s3://bucket/run")     # a Remote: exists, is_file, read_text, / and so on work on either

An object appears when it is whole. What is written is whole on this machine before it is sent: a stream to a bucket
that is closed early, by an error or Ctrl-C, would leave its beginning there as if it were all.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs as pafs

from resvae_ray.errors import DataError, JobError, UsageError, first_line
from resvae_ray.files.s3 import S3, in_bucket

PART_BYTES = 8 << 20  # of a file that is sent at a time


def locate(path: "str | Place") -> tuple[pafs.FileSystem, str]:
    """The file system of `path` and the path on it. A path without a scheme is local and made absolute.

    For s3:// see `in_bucket`.

    Raises:
        UsageError: the scheme is unknown, or nothing in a bucket can have that name.
        JobError: the storage cannot be reached, or there is no such bucket.
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
def reaching(path: "str | Place") -> Iterator[None]:
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


def is_lost(error: Exception) -> bool:
    """Whether reading failed on the way to the storage; otherwise it is the file that is wrong."""
    return isinstance(error, OSError) and "AWS Error" in str(error)


@dataclass(frozen=True)
class Remote:
    """A file or folder that is not on a mounted disk; folders are there as long as a file is below them."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.uri}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.uri.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return Path(self.name).suffix

    def with_name(self, name: str) -> "Remote":
        """What is called `name` beside it.

        Raises:
            UsageError: it is a whole bucket, and nothing is beside that.
        """
        _refuse_whole_bucket(self)
        return Remote(f"{self.uri.rpartition('/')[0]}/{name}")

    def exists(self) -> bool:
        """Whether it is a file, or a folder with something in it."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._info().is_file

    def is_dir(self) -> bool:
        """Whether there is a file below it."""
        return bool(self.files())

    def files(self) -> dict[str, pafs.FileInfo]:
        """All files below it, by their names relative to it."""
        filesystem, place = locate(self)
        with reaching(self):
            found = filesystem.get_file_info(pafs.FileSelector(place, recursive=True, allow_not_found=True))
        return {info.path.removeprefix(f"{place}/"): info for info in found if info.is_file}

    def age(self, now: float) -> float:
        """Seconds from its last writing to `now`, which is seconds since 1970."""
        return now - self.written() / 1e9

    def written(self) -> int:
        """When it was written last, in nanoseconds since 1970 by the bucket's clock; 0 if it is not there."""
        return self._info().mtime_ns or 0

    def read_bytes(self) -> bytes:
        """
        Raises:
            FileNotFoundError: no such file.
        """
        filesystem, place = locate(self)
        with reaching(self), filesystem.open_input_file(place) as file:
            return file.read()

    def read_text(self, errors: str = "strict") -> str:
        """See `read_bytes`."""
        return self.read_bytes().decode(errors=errors)

    def write_bytes(self, content: bytes) -> None:
        """Replaces it, in one step."""
        filesystem, place = locate(self)
        with reaching(self), filesystem.open_output_stream(place) as file:
            file.write(content)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file.

        Raises:
            FileNotFoundError: it is not there, and need be.
        """
        filesystem, place = locate(self)
        try:
            with reaching(self):
                filesystem.delete_file(place)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_folder(self) -> None:
        """Removes all that is below it."""
        filesystem, place = locate(self)
        try:
            with reaching(self):
                filesystem.delete_dir(place)
        except FileNotFoundError:
            pass

    def _info(self) -> pafs.FileInfo:
        filesystem, place = locate(self)
        with reaching(self):
            return filesystem.get_file_info(place)


Place = Path | Remote


def place(path: str | Place) -> Place:
    """Where `path` is: an absolute Path, or a Remote if it is a URI.

    Raises:
        UsageError: a scheme that nobody knows.
        JobError: it cannot be reached.
    """
    if isinstance(path, Remote):
        return path
    if "://" not in str(path):
        return Path(os.path.abspath(os.path.expanduser(path)))
    filesystem, local = locate(str(path))
    return Path(local) if isinstance(filesystem, pafs.LocalFileSystem) else Remote(str(path).rstrip("/"))


def place_to_write(path: str | Place) -> Place:
    """`place` of what is to be made there.

    Raises:
        UsageError: a scheme that nobody knows, or a bucket without a name in it.
        JobError: it cannot be reached.
    """
    where = place(path)
    if isinstance(where, Remote):
        _refuse_whole_bucket(where)
    return where


def _refuse_whole_bucket(where: Remote) -> None:
    if "/" not in where.uri.partition("://")[2]:
        raise UsageError(f"{where}: a bucket as a whole is not written to; expected {where}/NAME")


def upload(source: Path, target: Remote) -> None:
    """Replaces `target` by the file `source`, in one step."""
    _copy(pafs.LocalFileSystem(), str(source), *locate(target), target)


def download(source: Remote, target: Path) -> None:
    """Replaces the file `target` by `source`.

    Raises:
        DataError: no such file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _copy(*locate(source), pafs.LocalFileSystem(), str(target), source)
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None


def _copy(source: pafs.FileSystem, path: str, target: pafs.FileSystem, to: str, named: Remote) -> None:
    """One call outside Python, which Ctrl-C cannot end in the middle."""
    with reaching(named):
        pafs.copy_files(path, to, source_filesystem=source, destination_filesystem=target, chunk_size=PART_BYTES)
