"""What `import` can read piece by piece: shards of Parquet, several delimited files, the files of esm-extract.

Each kind says which rows make an output file, reads them, and notices files that change meanwhile.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyarrow import fs as pafs

from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import part_name, part_rows
from resvae_ray.data.importers import chosen_reader, delimited, parquet, torch_files
from resvae_ray.data.importers.delimited import TextSource
from resvae_ray.data.importers.parquet import ParquetSource
from resvae_ray.data.importers.torch_files import ExtractedFiles
from resvae_ray.data.layout import ROWS, ColumnChoice, Layout
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.errors import DataError, JobError
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import locate
from resvae_ray.jobs.portions import Portion, States, bytes_of, file_states, portion_of, rows_of, states_of


@dataclass(frozen=True)
class ImportSource(ABC):
    """A source that a job imports.

    Attributes:
        source: as the user named it.
        dim: D.
        layout: its columns; None if it has ids and vectors alone.
        found: see `FeatureBatch`.
        states: of the files when the job began, as JSON has it; other files, or changed ones, begin it anew.
    """

    source: str
    dim: int
    layout: Layout | None
    found: Mapping[str, str]
    states: States

    @abstractmethod
    def portions(self) -> list[Portion]:
        """The output files in the order of the rows."""

    @abstractmethod
    def rows(self, portion: Portion) -> Iterator[FeatureBatch]:
        """The rows of an output file.

        Raises:
            DataError: what is not FEATURES.
            JobError: a file has changed since the job began.
        """

    @property
    def numbered(self) -> bool:
        """Whether the ids are the numbers of the rows."""
        return self.layout is not None and self.layout.id is None

    @property
    def first_checked(self) -> Features | None:
        """FEATURES with its ids, where these can be compared before anything is written."""
        return None

    @abstractmethod
    def require_unchanged(self) -> None:
        """At the end of the job.

        Raises:
            JobError: files have changed, and `rows` did not notice.
        """


@dataclass(frozen=True)
class ParquetShards(ImportSource):
    """Shards of Parquet; a portion is the rows of one file that this process would write."""

    opened: ParquetSource

    @classmethod
    def open(cls, source: str, choice: ColumnChoice) -> "ParquetShards":
        """See `ParquetSource.open`."""
        opened = ParquetSource.open(source, choice)
        features = opened.features
        return cls(source, features.dim, features.layout, opened.found, states_of(features, features.files), opened)

    @property
    def first_checked(self) -> Features:
        return self.opened.features

    def portions(self) -> list[Portion]:
        features = self.opened.features
        return [
            portion_of(features, part_name(number), stop - start, start, stop)
            for number, (start, stop) in enumerate(_spans(features.rows, self.dim))
        ]

    def rows(self, portion: Portion) -> Iterator[FeatureBatch]:
        return self.opened.as_imported(rows_of(portion, self.opened.features, self.states), portion.start)

    def require_unchanged(self) -> None:
        pass


@dataclass(frozen=True)
class TextShards(ImportSource):
    """Several delimited files; a portion is one of them, however many rows it has."""

    opened: TextSource

    @classmethod
    def open(cls, source: str, choice: ColumnChoice) -> "TextShards | None":
        """None for one file, which is read from its start to its end, and for rows without ids, which are counted."""
        files = delimited.delimited_files(source)
        states, opened = _states(files), TextSource.open(source, choice) if len(files) > 1 else None
        if opened is None or opened.layout.id is None:
            return None
        dim = next(opened.rows(files[0])).features.shape[1]
        return cls(source, dim, opened.layout, opened.found, states, opened)

    def portions(self) -> list[Portion]:
        return [Portion(part_name(number), 0, 0, 0, [file], [], []) for number, file in enumerate(self.opened.files)]

    def rows(self, portion: Portion) -> Iterator[FeatureBatch]:
        (file,), row = portion.files, 1
        self._require_unchanged(file)
        for batch in self.opened.rows(file):
            if (width := batch.features.shape[1]) != self.dim:
                raise DataError(
                    f"{file}: row {row}: a vector of {width} numbers, but {self.dim} in {self.opened.files[0]}; all "
                    "vectors must have one width"
                )
            row += len(batch)
            yield batch
        self._require_unchanged(file)

    def require_unchanged(self) -> None:
        pass

    def _require_unchanged(self, file: str) -> None:
        if _states([file])[file] != self.states[file]:
            raise JobError(f"{file}: has changed since the job began; run the same command again")


@dataclass(frozen=True)
class ExtractedShards(ImportSource):
    """The files of esm-extract, one per protein; there may be millions, and what is kept is the state of all."""

    opened: ExtractedFiles

    @classmethod
    def open(cls, source: str, choice: ColumnChoice) -> "ExtractedShards | None":
        """None for other files of PyTorch."""
        if (opened := ExtractedFiles.open(source, choice)) is None:
            return None
        states = _whole_state(source, opened.filesystem, opened.paths)
        return cls(source, opened.dim, None, opened.pick.found, states, opened)

    def portions(self) -> list[Portion]:
        return [
            Portion(part_name(number), stop - start, start, stop, self.opened.paths[start:stop], [], [])
            for number, (start, stop) in enumerate(_spans(len(self.opened.paths), self.dim))
        ]

    def rows(self, portion: Portion) -> Iterator[FeatureBatch]:
        return self.opened.rows(portion.files, portion.start)

    def require_unchanged(self) -> None:
        if _whole_state(self.source, *torch_files.files_of(self.source)) != self.states:
            raise JobError(f"{self.source}: its files have changed since the job began; run the same command again")


def source_in_pieces(source: str, choice: ColumnChoice) -> ImportSource | None:
    """The source, if it can be read piece by piece.

    Raises:
        DataError, UsageError: see `read_features`.
    """
    read = chosen_reader(source, choice)
    if choice.ids not in (None, ROWS):  # ids out of a file come one after another
        return None
    if read is parquet.read:
        return ParquetShards.open(source, choice)
    if choice.ids is not None:
        return None
    if read is delimited.read:
        return TextShards.open(source, choice)
    return ExtractedShards.open(source, choice) if read is torch_files.read else None


def size_of(source: str, choice: ColumnChoice) -> int:
    """Bytes of the files that a job could read; 0 if it could not."""
    read = chosen_reader(source, choice)
    if read is parquet.read:
        return bytes_of(file_states(source, *list_files(source, SUFFIX)))
    if read is delimited.read:
        return bytes_of(_states(delimited.delimited_files(source)))
    if read is torch_files.read:
        return bytes_of(file_states(source, *torch_files.files_of(source)))
    return 0


def _spans(rows: int, dim: int) -> Iterator[tuple[int, int]]:
    size = part_rows(dim)
    return ((start, min(start + size, rows)) for start in range(0, rows, size))


def _states(files: Sequence[str]) -> dict[str, list[int]]:
    """`file_states` by the names of files as `delimited_files` has them."""
    located = [locate(file) for file in files]
    states = file_states(files[0], located[0][0], [path for _, path in located])
    return dict(zip(files, states.values(), strict=True))


def _whole_state(source: str, filesystem: pafs.FileSystem, files: Sequence[str]) -> dict[str, list[int]]:
    """Number of files, bytes in all, and the latest write."""
    states = file_states(source, filesystem, files)
    return {source: [len(states), bytes_of(states), max(written for _, written in states.values())]}
