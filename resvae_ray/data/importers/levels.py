"""Containers with levels (groups of HDF5, dictionaries, folders): which level names the protein.

A path such as `layer_33/P12345/mean` has one vector. A level with a single name is not part of the id. An id that has a
slash was written as two levels (`P12345/10-20`): then the inner names differ from group to group. Inner names that are
repeated under several groups are layers, poolings or splits of the same proteins, of which one is chosen. So are
names without groups that end or begin with a layer or a pooling, such as `P12345_mean` beside `P12345_cls`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resvae_ray.data.layout import FEATURES_COLUMNS, find_column, some_names
from resvae_ray.errors import UsageError

REPEATED = 1.5  # vectors per inner name, from which on the names are not those of proteins
LEVEL = (
    r"mean|avg|average|max|min|sum|cls|bos|eos|pooled|first|last|residues?|tokens?|per[_-]?(?:protein|residue|tok|token)|"
    r"(?:layer|repr|representation|hidden|l)[_-]?\d+"
)
AT_THE_END = re.compile(rf"(?P<name>.+?)[_.:|-](?P<level>{LEVEL})", re.IGNORECASE)
AT_THE_START = re.compile(rf"(?P<level>{LEVEL})[_.:|-](?P<name>.+)", re.IGNORECASE)

Path = tuple[str, ...]


@dataclass(frozen=True)
class Naming:
    """How a path becomes an id.

    Attributes:
        wanted: names that the path must have, in that order; they are not part of the id.
        kept: the levels of what is left that make the id; None for all.
        within: how names without groups are taken apart, if they hold a level.
    """

    wanted: Path
    kept: tuple[int, ...] | None
    within: re.Pattern[str] | None = None

    def id_of(self, path: Path) -> str | None:
        """The id; None for a path that was not chosen."""
        left = _without(_apart(path, self.within), self.wanted)
        if not left:
            return None
        return "/".join(left if self.kept is None else (left[level] for level in self.kept))


def naming_of(paths: Iterable[Path], wanted: str | None, where: str) -> Naming:
    """
    Args:
        paths: of all vectors, from the outer name to the inner one.
        wanted: what the user chose: one or more names of levels, with slashes between them.

    Raises:
        UsageError: no path has the wanted names, or the user must choose.
    """
    names = tuple(wanted.split("/")) if wanted else ()
    all_paths = list(paths)
    within = level_within(all_paths)
    all_paths = [_apart(path, within) for path in all_paths]
    left = [rest for path in all_paths if (rest := _without(path, names))]
    if not left and all_paths:
        raise UsageError(
            f"{where}: --features-column {wanted}: not in the file; it has "
            f"{some_names(list(dict.fromkeys(name for path in all_paths for name in path)))}"
        )
    if len(left) == 1:
        usual = len(left[0]) > 1 and find_column(left[0][-1:], FEATURES_COLUMNS)
        return Naming(names, tuple(range(len(left[0]) - 1)) if usual else None, within)
    kept = None
    if len({len(path) for path in left}) == 1:
        varied = [len({path[level] for path in left}) for level in range(len(left[0]))]
        kept = tuple(level for level, count in enumerate(varied) if count > 1)
        if len(kept) == 1:
            return Naming(names, kept, within)
    deep = [path for path in left if len(path) > 1]
    if len(deep) >= REPEATED * len({path[-1] for path in deep}) > 0:
        raise _must_choose(deep, where)
    return Naming(names, kept, within)


def has_level(paths: Sequence[Path], wanted: str) -> bool:
    """Whether the user's choice is the name of a level."""
    within = level_within(paths)
    return any(wanted in _apart(path, within) for path in paths)


def level_within(paths: Sequence[Path]) -> re.Pattern[str] | None:
    """How names without groups are taken apart, if all hold a level and several of them one protein."""
    for pattern in (AT_THE_END, AT_THE_START):
        if not paths or not pattern.fullmatch(paths[0][0]):
            continue
        found = [pattern.fullmatch(path[0]) if len(path) == 1 else None for path in paths]
        names = {match["name"] for match in found if match}
        if all(found) and len(found) >= REPEATED * len(names) > 0:
            return pattern
    return None


def _apart(path: Path, within: re.Pattern[str] | None) -> Path:
    """The path of a name without groups that holds a level: the level, then the protein."""
    match = within.fullmatch(path[0]) if within is not None else None
    return path if match is None else (match["level"], match["name"])


def _must_choose(paths: Sequence[Path], where: str) -> UsageError:
    """The level with the fewest names is the one to choose from."""
    shallow = min(map(len, paths))
    levels = [list(dict.fromkeys(path[level] for path in paths)) for level in (*range(shallow - 1), -1)]
    names = min((level for level in levels if len(level) > 1), key=len)
    return UsageError(
        f"{where}: several vectors per protein, under {some_names(names)}; choose one with --features-column"
    )


def _without(path: Path, wanted: Path) -> Path:
    """The path without the wanted names; empty if it does not have them all, in that order."""
    left, missing = [], list(wanted)
    for name in path:
        if missing and name == missing[0]:
            missing.pop(0)
        else:
            left.append(name)
    return () if missing else tuple(left)
