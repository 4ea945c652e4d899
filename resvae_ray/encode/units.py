"""The pieces of an encoding job: input files, and some row groups of a large one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pyarrow import fs as pafs

from resvae_ray.data.features import FILE_BYTES, Features, rows_in
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.errors import DataError
from resvae_ray.files.place import locate


@dataclass(frozen=True)
class Unit:
    """Some row groups of an input file, and the output file that they become."""

    file: str
    groups: Sequence[int]
    rows: int
    output: str


def units_of(source: Features, listed: Sequence[str]) -> list[Unit]:
    """The input files, a large one in several parts; outputs keep the names below the folder that was given.

    Args:
        listed: all files of FEATURES, which may be more than can be read; they decide the names.

    Raises:
        DataError: two of them would be written to one file.
    """
    place = locate(source.path)[1]
    is_folder = source.filesystem.get_file_info(place).type == pafs.FileType.Directory
    root = f"{place}/" if is_folder else _common_folder(listed)
    units: list[Unit] = []
    most, groups_of = rows_in(FILE_BYTES, source.dim), defaultdict(list)
    for group in source.groups():
        groups_of[group.file].append(group)
    for file in source.files:
        counts = [group.rows for group in groups_of[file]]
        parts = _parts(counts, most)
        stem = file[len(root) :].removesuffix(SUFFIX)
        for groups in parts:
            suffix = f"-{groups[0]:05d}" if len(parts) > 1 else ""
            rows = sum(counts[group] for group in groups)
            units.append(Unit(file, tuple(groups), rows, f"{stem}{suffix}{SUFFIX}"))
    _require_apart(units)
    return units


def _require_apart(units: Sequence[Unit]) -> None:
    """A part of a large file may have the name of another file."""
    owners: dict[str, str] = {}
    for unit in units:
        if (other := owners.setdefault(unit.output, unit.file)) != unit.file:
            raise DataError(f"{other} and {unit.file}: both would become {unit.output}; rename one of them")


def _parts(counts: Sequence[int], most: int) -> list[list[int]]:
    """Row groups put together up to about `most` rows; groups without rows are left out."""
    parts: list[list[int]] = []
    rows = most
    for group, count in enumerate(counts):
        if not count:
            continue
        if rows + count > most and rows:
            parts.append([])
            rows = 0
        parts[-1].append(group)
        rows += count
    return parts


def _common_folder(files: Sequence[str]) -> str:
    """The longest folder, with its slash, that all the files of a glob are below."""
    folders = [file.split("/")[:-1] for file in files]
    shared = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared) + "/"
