"""The files that a path stands for: one, all below a folder, or those that a glob matches; local or in a bucket."""

import fnmatch
import glob
import os

from pyarrow import fs as pafs

from resvae_ray.errors import DataError
from resvae_ray.files.place import AnyPath, locate, reaching
from resvae_ray.names import UPLOADING

SIGNS = "*?["  # of a glob


def list_files(path: AnyPath, suffix: str | tuple[str, ...]) -> tuple[pafs.FileSystem, list[str]]:
    """The files with `suffix` that `path` stands for, sorted: one file, all below a folder, or those a glob matches.

    Names that begin with '.' or '_' are passed over below a folder, as Parquet readers do. No sign of a glob stands for
    '/', nor for the '.' that hides a name.

    Raises:
        DataError: nothing is there, or no file with the suffix.
        JobError: the storage cannot be reached.
    """
    filesystem, root = locate(path)
    with reaching(path):
        found = _found(filesystem, root, suffix)
    if found is None:
        raise DataError(f"{path}: no such file or folder")
    if not found:
        raise DataError(f"{path}: no {suffix if isinstance(suffix, str) else ' or '.join(suffix)} file there")
    return filesystem, sorted(found)


def _found(filesystem: pafs.FileSystem, root: str, suffix: str | tuple[str, ...]) -> list[str] | None:
    kind = filesystem.get_file_info(root).type
    if kind == pafs.FileType.File:
        return [root]
    if kind == pafs.FileType.Directory:
        return _below(filesystem, root, suffix)
    return _matches(filesystem, root) if any(sign in root for sign in SIGNS) else None


def _matches(filesystem: pafs.FileSystem, pattern: str) -> list[str]:
    if isinstance(filesystem, pafs.LocalFileSystem):
        return [path for path in glob.glob(pattern) if os.path.isfile(path)]
    folder = pattern[: min(pattern.index(sign) for sign in SIGNS if sign in pattern)].rpartition("/")[0]
    deep = "/" in pattern[len(folder) + 1 :]
    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=deep, allow_not_found=True))
    found = [info.path for info in infos if info.is_file and _fits(info.path, pattern)]
    for marked in (info.path.removesuffix(UPLOADING) for info in infos if info.base_name == UPLOADING):
        if any(path.startswith(marked) for path in found):
            raise _half_written(marked.rstrip("/"))
    return found


def _fits(path: str, pattern: str) -> bool:
    """As `glob` does on a disk."""
    names, patterns = path.split("/"), pattern.split("/")
    return len(names) == len(patterns) and all(
        fnmatch.fnmatchcase(name, wanted) and (wanted.startswith(".") or not name.startswith("."))
        for name, wanted in zip(names, patterns, strict=True)
    )


def _below(filesystem: pafs.FileSystem, folder: str, suffix: str | tuple[str, ...]) -> list[str]:
    def visible(path: str) -> bool:
        return not any(part.startswith((".", "_")) for part in path.removeprefix(folder).strip("/").split("/"))

    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True))
    if any(i.base_name == UPLOADING for i in infos):
        raise _half_written(folder)
    return [i.path for i in infos if i.is_file and i.path.endswith(suffix) and visible(i.path)]


def _half_written(folder: str) -> DataError:
    return DataError(f"{folder}: is being written, or was when that was interrupted; it is not all there")
