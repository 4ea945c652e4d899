"""Files of FEATURES that cannot be read: whether they stop an encoding job, and the list of those that did not.

The list lies beside LATENTS. The next job reads it, since a listed file may have been repaired by then.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from resvae_ray import names
from resvae_ray.data.features import Features
from resvae_ray.data.parquet_pieces import SUFFIX, parquet_file
from resvae_ray.errors import BadFileError, DataError
from resvae_ray.files.atomic import read_json
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import Place

OnBadFile = Callable[[DataError], None]


def stop(error: DataError) -> None:
    """Ends the job at a file that cannot be read.

    Raises:
        DataError: always.
    """
    raise error


@dataclass(frozen=True)
class Skipped:
    """A skipped file, or part of one.

    Attributes:
        row_groups: the skipped row groups of the file; None for all.
    """

    file: str
    row_groups: list[int] | None
    reason: str


class SkipList:
    """The list, as an earlier job left it and as this one adds to it.

    Args:
        latents: the output; the list is written beside it.
        on_bad_file: called for each unreadable file; raises to end the job.

    Attributes:
        before: entries skipped by the earlier job.
        now: entries skipped by this job so far.

    Raises:
        DataError: the existing file is not a list of skipped files.
    """

    def __init__(self, latents: Place, on_bad_file: OnBadFile) -> None:
        self.path = latents.with_name(names.SKIPPED_FILE.format(latents=latents.name))
        self.before, self.now = _read(self.path), list[Skipped]()
        self._on_bad_file = on_bad_file

    def add(self, file: str, row_groups: list[int] | None, error: DataError) -> None:
        """Adds an unreadable file to the list, if the job continues without it."""
        self._on_bad_file(error)
        self.now.append(Skipped(file, row_groups, str(error)))

    def write(self) -> None:
        """Writes all entries, old and new: until the job ends, a listed file may change."""
        if entries := [*self.now, *(entry for entry in self.before if entry not in self.now)]:
            self.path.write_json([asdict(entry) for entry in entries])

    def finish(self) -> None:
        """Keeps only the entries of this job; removes the list if there are none."""
        self.before = []
        self.write()
        if not self.now:
            self.path.unlink(missing_ok=True)


def _read(path: Place) -> list[Skipped]:
    if not path.exists():
        return []
    try:
        return [Skipped(**entry) for entry in read_json(path)]
    except TypeError:
        raise DataError(f"{path}: not a list of skipped files; remove it, or choose another name for LATENTS") from None


def open_readable(path: str | Path, model: Place, dim: int, skipped: SkipList) -> tuple[Features, list[str]]:
    """The files of FEATURES whose footers can be read, and the paths of all; the first with rows decides the layout.

    Args:
        dim: the width that its vectors have to have, which is that of `model`.

    Raises:
        DataError: no such file, or none that can be read.
    """
    filesystem, files = list_files(path, SUFFIX)
    first, sound = None, []
    for file in files:
        try:
            rows = parquet_file(filesystem, file).metadata.num_rows
            first = first or (_first(Features.of(path, filesystem, [file]), model, dim) if rows else None)
            sound.append(file)
        except DataError as error:
            skipped.add(file, None, BadFileError(str(error)))
    if first is None:
        reason = (
            f"none of {len(files)} files can be read; {skipped.now[0].reason}" if skipped.now else "it holds no rows"
        )
        raise DataError(f"{path}: {reason}")
    return Features.of(path, filesystem, sound), files


def _first(features: Features, model: Place, dim: int) -> Features:
    if features.dim != dim:
        found = f"{features.files[0]}: vectors of {features.dim} numbers"
        raise DataError(f"{found}, but the model {model} takes {dim}")
    return features
