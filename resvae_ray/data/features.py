"""FEATURES on disk: opened and read in bounded memory, written in row groups, checked on the way.

features = Features.open("features.parquet")          # a file, a folder or a glob, local or s3://
for batch in features.batches():                      # FeatureBatch: ids, float32 matrix, other columns
    ...
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from resvae_ray.data.arrow_types import one_schema
from resvae_ray.data.hashes import hash_texts
from resvae_ray.data.layout import ColumnChoice, Layout, find_layout, no_id_column, require_free_names
from resvae_ray.data.parquet_pieces import SUFFIX, column_pieces, parquet_file, pieces_of, provenance_of
from resvae_ray.data.schema import FeatureBatch, as_text, check_batch, decode, decode_matrix
from resvae_ray.data.vector_columns import vector_columns
from resvae_ray.errors import DataError
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import AnyPath

BATCH_BYTES = 8 << 20  # of float32 that a reader holds at a time
FILE_BYTES = 256 << 20  # of float32 in one file of a folder: what one worker encodes at a time
SHARE_ROWS = 1 << 27  # ids whose hashes are held at a time


def rows_in(size: int, dim: int) -> int:
    """Number of rows of `dim` float32 that fit in `size` bytes; at least one."""
    return max(1, size // (4 * dim))


def batch_rows(dim: int) -> int:
    """Number of rows of `dim` float32 that a reader holds at a time."""
    return rows_in(BATCH_BYTES, max(1, dim))


@dataclass(frozen=True)
class RowGroup:
    """Row group number `index` of `file`, the unit in which a Parquet file is read."""

    file: str
    index: int
    rows: int


@dataclass(frozen=True)
class Features:
    """Some Parquet files with one layout and width.

    Attributes:
        path: what the user named.
        files: paths on `filesystem`, in the order in which rows are read.
        dim: D, the width of the vectors.
        schema: of the first file, with types as which all of them can be read.
        provenance: what produced them, from the Parquet metadata.
    """

    path: str
    filesystem: pafs.FileSystem
    files: tuple[str, ...]
    layout: Layout
    dim: int
    schema: pa.Schema
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: AnyPath, choice: ColumnChoice | None = None) -> "Features":
        """
        Raises:
            DataError: no such file, not Parquet, no rows, or no features in it.
        """
        return cls.of(path, *list_files(path, SUFFIX), choice)

    @classmethod
    def of(
        cls, path: AnyPath, filesystem: pafs.FileSystem, files: Sequence[str], choice: ColumnChoice | None = None
    ) -> "Features":
        """As `open`, with some of the files that `path` stands for."""
        schema = schema_of(filesystem, files)
        layout = find_layout(schema.names, vector_columns(schema), choice or ColumnChoice(), files[0])
        require_free_names(layout.others, files[0])
        return cls.with_layout(path, filesystem, files, schema, layout)

    @classmethod
    def with_layout(
        cls, path: AnyPath, filesystem: pafs.FileSystem, files: Sequence[str], schema: pa.Schema, layout: Layout
    ) -> "Features":
        """As `open`, for files of that schema with a known layout."""
        dim = _width(filesystem, files, layout)
        if not dim:
            raise DataError(f"{path}: it holds no rows, or vectors without numbers")
        return cls(str(path), filesystem, tuple(files), layout, dim, schema, provenance_of(schema))

    @cached_property
    def file_rows(self) -> list[int]:
        """Rows in each file."""
        return [parquet_file(self.filesystem, file).metadata.num_rows for file in self.files]

    @property
    def id_column(self) -> str:
        """The column of the ids.

        Raises:
            DataError: there is none.
        """
        if self.layout.id is None:
            raise no_id_column(self.schema.names, self.path)
        return self.layout.id

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(self.file_rows)

    def groups(self) -> list[RowGroup]:
        """The row groups of all files, in order."""
        return [
            RowGroup(file, index, metadata.row_group(index).num_rows)
            for file in self.files
            for metadata in [parquet_file(self.filesystem, file).metadata]
            for index in range(metadata.num_row_groups)
        ]

    def batches(self, rows: int | None = None) -> Iterator[FeatureBatch]:
        """All rows in order, at most `rows` at a time.

        Raises:
            DataError: a missing or non-finite value, another width than D; file, row and column are named.
        """
        for file in self.files:
            yield from self.file_batches(file, rows=rows)

    def file_batches(
        self, file: str, groups: Sequence[int] | None = None, rows: int | None = None
    ) -> Iterator[FeatureBatch]:
        """The rows of one of the files, or of some of its row groups, in order; see `batches`."""
        for row, table in self.tables(file, groups, rows):
            batch = decode(table, self.layout, file, row)
            check_batch(batch, self.layout.features if self.layout.wide else None, file, row)
            self.require_width(batch.features, file, row)
            yield batch

    def rows_of_file(self, file: str, start: int, count: int) -> Iterator[FeatureBatch]:
        """`count` rows of one of the files, in order, from row `start` on, counted from 0; see `batches`.

        Only the row groups in which they are get read.
        """
        metadata = parquet_file(self.filesystem, file).metadata
        ends = np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)])
        first, last = (int(np.searchsorted(ends, row, side="right")) for row in (start, start + count - 1))
        row = int(ends[first - 1]) if first else 0
        for batch in self.file_batches(file, range(first, min(last + 1, len(ends)))):
            yield batch.slice(max(0, start - row), start + count - row)
            row += len(batch)

    def tables(
        self, file: str, groups: Sequence[int] | None = None, rows: int | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """The unmodified rows of one of the files, in pieces, each with the number of its first row, from 1.

        Raises:
            DataError: the file is damaged or has other columns than the first one.
        """
        source = parquet_file(self.filesystem, file)
        self._require_columns(source.schema_arrow, file)
        row = 1 + sum(source.metadata.row_group(group).num_rows for group in range(groups[0] if groups else 0))
        for piece in pieces_of(source, groups, rows or batch_rows(self.dim), self.layout.columns, file):
            yield row, self._fitted(piece, file)
            row += len(piece)

    def require_width(self, matrix: np.ndarray, file: str, row: int) -> None:
        """
        Raises:
            DataError: the matrix (n, D), whose first row has the number `row` in the file, is not of this width.
        """
        if len(matrix) and matrix.shape[1] != self.dim:
            raise DataError(
                f"{file}: row {row}: a vector of {matrix.shape[1]} numbers, but {self.dim} in the rows "
                "before; all vectors must have one width"
            )

    def _require_columns(self, found: pa.Schema, file: str) -> None:
        """The file has the columns that it had, or those of the first one."""
        for name in self.layout.columns:
            if name not in found.names:
                raise DataError(f"{file}: no column {name!r}, which {self.files[0]} has")

    def _fitted(self, piece: pa.RecordBatch, file: str) -> pa.Table:
        """The rows with the columns that pass through as `schema` has them."""
        table = pa.Table.from_batches([piece])
        for place, name in enumerate(piece.schema.names):
            kind = self.schema.field(name).type
            if name in self.layout.features or piece.schema.field(name).type == kind:
                continue
            try:
                table = table.set_column(place, name, table.column(place).cast(kind))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                found = piece.schema.field(name).type
                raise DataError(f"{file}: column {name!r} holds {found}, but {kind} in other files there") from None
        return table

    def columns(self, names: list[str]) -> Iterator[pa.Table]:
        """Only the columns `names`, in order, in batches: cheap where features are not needed."""
        return column_pieces(self.filesystem, self.files, names)

    def ids(self) -> Iterator[pa.Array]:
        """The ids in order, in batches."""
        for table in self.columns([self.id_column]):
            yield as_text(table.column(0), f"{self.path}: column {self.id_column}")


def schema_of(filesystem: pafs.FileSystem, files: Sequence[str]) -> pa.Schema:
    """The schema to read all of the files with; see `one_schema`.

    Raises:
        DataError: a file is damaged, or its columns do not fit the others'; column and file are named.
    """
    return one_schema([parquet_file(filesystem, file).schema_arrow for file in files], files)


def draw_groups(rows: Sequence[int], most: int, random: np.random.Generator) -> list[int]:
    """Positions of row groups, drawn at random until they hold `most` rows, ascending; `rows` lists their sizes."""
    order = random.permutation(len(rows))
    before = np.cumsum([0, *(rows[position] for position in order)])[:-1]
    return sorted(order[before < most].tolist())


def some_batches(features: Features, most: int, random: np.random.Generator) -> Iterator[FeatureBatch]:
    """All rows; above `most`, about `most` rows, as whole row groups drawn at random, in order."""
    if features.rows <= most:
        yield from features.batches()
        return
    groups = features.groups()
    for position in draw_groups([group.rows for group in groups], most, random):
        yield from features.file_batches(groups[position].file, [groups[position].index])


def _width(filesystem: pafs.FileSystem, files: Iterable[str], layout: Layout) -> int:
    """The width of the first vector; 0 if there is none."""
    for file in files:
        source = parquet_file(filesystem, file)
        for piece in pieces_of(source, None, 1, list(layout.features), file):
            vector = piece.column(0)
            if layout.wide or not vector.null_count:
                return decode_matrix(pa.Table.from_batches([piece]), layout, file).shape[1]
    return 0


def require_unique_ids(
    id_batches: Callable[[], Iterable[pa.Array]],
    where: str,
    place: Callable[[int], str] = "row {}".format,
    rows: int = 0,
) -> None:
    """
    Compares ids by a 64-bit hash first, and by their text if two hashes are equal. Needs 16 bytes per row, and 2 GiB at
    most if `rows` are known: then the ids are read again for each SHARE_ROWS.

    Args:
        id_batches: gives all ids, in order, each time it is called.
        place: describes the location of a row, given its number.
        rows: number of ids; 0 if it is not known.

    Raises:
        DataError: an id appears twice (the message names both places), or several ids are missing.
    """
    shares = 1 + rows // SHARE_ROWS
    for number in range(shares):
        require_unique_share(id_batches, where, place, number, shares)


def require_unique_share(
    id_batches: Callable[[], Iterable[pa.Array]], where: str, place: Callable[[int], str], number: int, shares: int
) -> None:
    """As `require_unique_ids`, of the ids whose hash leaves the remainder `number` when divided by `shares`."""

    def hashed(ids: pa.Array) -> np.ndarray:
        hashes = hash_texts(ids)
        return hashes if shares == 1 else hashes[hashes % np.uint64(shares) == number]

    hashes = np.concatenate([np.empty(0, np.uint64), *map(hashed, id_batches())])
    hashes.sort()
    suspects = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(suspects):
        return
    seen: dict[str, int] = {}
    row = 1
    for ids in id_batches():
        for position in np.flatnonzero(np.isin(hash_texts(ids), suspects)):
            name = ids[int(position)].as_py()
            if not name:
                raise DataError(f"{where}: {place(row + int(position))}: the id is missing; every protein needs one")
            if name in seen:
                raise DataError(
                    f"{where}: id {name!r} appears in {place(seen[name])} and in {place(row + int(position))}"
                )
            seen[name] = row + int(position)
        row += len(ids)
