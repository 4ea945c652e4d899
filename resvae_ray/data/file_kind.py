"""Detects a file's format from its first bytes: its suffix may be wrong or missing."""

import zipfile

from pyarrow import fs as pafs

from resvae_ray.errors import DataError
from resvae_ray.files.place import locate, reaching

FASTA, TEXT, PARQUET, HDF5, NPY, NPZ, XLSX, PT = ".fasta", ".txt", ".parquet", ".h5", ".npy", ".npz", ".xlsx", ".pt"
GZIP = b"\x1f\x8b"
MARKS = {b"PAR1": PARQUET, b"\x89HDF\r\n\x1a\n": HDF5, b"\x93NUMPY": NPY}
IN_ARCHIVES = {"xl/": XLSX, ".npy": NPZ, "data.pkl": PT}  # a part of the names in a zip archive
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
HEAD_BYTES = 1 << 16
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_gzip(filesystem: pafs.FileSystem, place: str) -> bool:
    """Whether the file is packed by gzip.

    Raises:
        FileNotFoundError, OSError: it cannot be read.
    """
    with filesystem.open_input_stream(place, compression=None) as raw:
        return raw.read(len(GZIP)) == GZIP


def kind_by_content(source: str) -> str | None:
    """The usual ending of files with such content; TEXT for text that is no FASTA; None for no file, or another kind.

    Raises:
        DataError: it is a pointer of Git LFS instead of the file.
        JobError: the storage cannot be reached.
    """
    filesystem, place = locate(source)
    with reaching(source):
        if filesystem.get_file_info(place).type != pafs.FileType.File:
            return None
    try:
        head = _head(filesystem, place)
    except OSError:
        return None
    refuse_pointer(head, source)
    if (kind := next((kind for mark, kind in MARKS.items() if head.startswith(mark)), None)) is not None:
        return kind
    if head.startswith(b"PK"):
        return _kind_of_archive(filesystem, place)
    return _kind_of_text(head)


def refuse_pointer(head: bytes, source: str) -> None:
    """
    Raises:
        DataError: a file that begins with `head` is a pointer of Git LFS.
    """
    if head.startswith(LFS_POINTER):
        raise DataError(f"{source}: a pointer of Git LFS, not the file itself; fetch it with 'git lfs pull'")


def refuse_pointer_at(filesystem: pafs.FileSystem, place: str) -> None:
    """
    Raises:
        DataError: the file there is a pointer of Git LFS.
    """
    try:
        with filesystem.open_input_stream(place, compression=None) as raw:
            head = raw.read(len(LFS_POINTER))
    except OSError:
        return
    refuse_pointer(head, place)


def _head(filesystem: pafs.FileSystem, place: str) -> bytes:
    packed = is_gzip(filesystem, place)
    with filesystem.open_input_stream(place, compression="gzip" if packed else None) as raw:
        return raw.read(HEAD_BYTES)


def _kind_of_archive(filesystem: pafs.FileSystem, place: str) -> str | None:
    try:
        with filesystem.open_input_file(place) as file, zipfile.ZipFile(file) as archive:
            names = " ".join(archive.namelist()[:HEAD_BYTES])
    except Exception:  # whatever a damaged archive raises; its reader says what is wrong
        return None
    return next((kind for part, kind in IN_ARCHIVES.items() if part in names), None)


def _kind_of_text(head: bytes) -> str | None:
    lines = (line.strip() for line in head.removeprefix(BYTE_ORDER_MARK).splitlines())
    first = next((line for line in lines if line and not line.startswith(b";")), b"")
    if first.startswith(b">"):
        return FASTA
    return None if b"\0" in head else TEXT
