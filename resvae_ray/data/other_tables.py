"""Tables that are not FEATURES: a test set's ids and sequences, a list of ids.

Read are Parquet (a file, a folder, a glob), CSV and TSV, FASTA, and plain text with one id per line; text also gzipped.
The content decides which it is: a FASTA file may be called .txt.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import fs as pafs

from resvae_ray.data.file_kind import FASTA, TEXT, kind_by_content
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS, only_number_rows
from resvae_ray.data.layout import ID_COLUMNS, SEQUENCE_COLUMNS, find_column, some_names
from resvae_ray.data.parquet_pieces import ID_BATCH_ROWS, SUFFIX, column_pieces, parquet_file, provenance_of
from resvae_ray.data.proteins import read_proteins
from resvae_ray.data.schema import as_text
from resvae_ray.data.text_table import TextTable
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import locate
from resvae_ray.names import ID, SEQUENCE

TABLES = (".csv", ".tsv")
LIST = ".txt"


class OtherTable(ABC):
    """A table whose columns are read one by one; `names` are the columns."""

    names: list[str]
    has_columns = True  # a list of ids has none

    def __init__(self, path: str) -> None:
        self.path = path

    @staticmethod
    def open(path: str | Path) -> "OtherTable":
        """The table, by its content and, where that leaves a choice, by the ending of its name.

        Raises:
            DataError: it cannot be read.
        """
        path = str(path)
        kind, plain = kind_by_content(path), path.lower().removesuffix(".gz")
        if kind == FASTA:
            return _Fasta(path)
        if kind == TEXT:
            return (_Delimited if plain.endswith(TABLES) or _has_header(path) else _IdList)(path)
        if kind is None:
            kind = next((ending for ending in (*TABLES, LIST, SUFFIX) if plain.endswith(ending)), None)
        if kind == LIST or (kind is None and _type_of(path) == pafs.FileType.File):
            return _IdList(path)
        if kind not in (None, SUFFIX, *TABLES):
            raise UsageError(
                f"{path}: {kind} is not a table of ids; expected Parquet, CSV, TSV, FASTA or one id per line"
            )
        return (_Delimited if kind in TABLES else _Parquet)(path)

    @abstractmethod
    def texts(self, name: str) -> Iterator[pa.Array]:
        """The texts in the column `name`, in order, in pieces.

        Raises:
            DataError: the table is damaged, or the column holds what has no text.
        """

    def is_numbered(self, name: str) -> bool:
        """Whether the ids in the column `name` are but the numbers of the rows."""
        return only_number_rows(name, lambda: self.texts(name))


class _Parquet(OtherTable):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._filesystem, self._files = list_files(path, SUFFIX)
        schema = parquet_file(self._filesystem, self._files[0]).schema_arrow
        self.names, self._provenance = schema.names, provenance_of(schema)

    def texts(self, name: str) -> Iterator[pa.Array]:
        for table in column_pieces(self._filesystem, self._files, [name]):
            yield as_text(table.column(0), f"{self.path}: column {name}")

    def is_numbered(self, name: str) -> bool:
        return self._provenance.get(IDS_KEY) == ROW_NUMBERS or super().is_numbered(name)


class _Delimited(OtherTable):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._table = TextTable.of(path)
        self.names = self._table.names

    def texts(self, name: str) -> Iterator[pa.Array]:
        for piece in self._table.pieces({name: pa.string()}):
            yield piece.column(0)


class _Fasta(OtherTable):
    names = [ID, SEQUENCE]  # noqa: RUF012

    def texts(self, name: str) -> Iterator[pa.Array]:
        """The sequences, or as ids the whole headers, which hold them in all their forms."""
        return (batch.headers if name == ID else batch.sequences for batch in read_proteins(self.path))


class _IdList(OtherTable):
    has_columns = False
    names = [ID]  # noqa: RUF012

    def texts(self, name: str) -> Iterator[pa.Array]:
        """The ids, of which there is one a line; empty lines are passed over.

        Raises:
            DataError: it is not text, or it is a table.
        """
        filesystem, place = locate(self.path)
        try:
            with filesystem.open_input_stream(place, compression="detect") as raw:
                lines = (line.strip() for line in io.TextIOWrapper(raw, encoding="utf-8-sig"))
                while piece := list(islice(filter(None, lines), ID_BATCH_ROWS)):
                    if table := next((line for line in piece if "\t" in line), None):
                        raise DataError(
                            f"{self.path}: {table[:20]!r} has a tab, but the first line names no id or sequence "
                            "column; expected one id per line, or a table with a header"
                        )
                    yield pa.array(piece, pa.string())
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file or folder") from None
        except (UnicodeDecodeError, OSError) as error:
            raise DataError(f"{self.path}: not a text with an id a line: {error}") from None


def id_list(path: str | Path) -> tuple[OtherTable, str]:
    """A list of ids and its id column: the one of a table, or the lines of a text.

    Raises:
        DataError: it cannot be read, or the table has no id column.
    """
    table = OtherTable.open(path)
    if (column := find_column(table.names, ID_COLUMNS)) is None:
        raise DataError(f"{path}: no id column; the columns are {some_names(table.names)}")
    return table, column


class ListedIds:
    """The ids in a file, taken for the rows of another one in their order.

    Args:
        path: see `id_list`.
        source: whose rows they are.

    Raises:
        DataError: it cannot be read, or the table has no id column.
    """

    def __init__(self, path: str, source: str) -> None:
        table, column = id_list(path)
        self._path, self._source, self._taken = path, source, 0
        self._pieces = table.texts(column)
        self._left: pa.Array = pa.array([], pa.string())

    def take(self, rows: int) -> pa.Array:
        """The next ids.

        Raises:
            DataError: there are not so many.
        """
        parts = [self._left]
        while sum(map(len, parts)) < rows:
            if (piece := next(self._pieces, None)) is None:
                listed = self._taken + sum(map(len, parts))
                raise DataError(f"{self._path}: {listed:,} ids, but {self._source} has more rows")
            parts.append(piece)
        whole = pa.concat_arrays(parts)
        self._left, self._taken = whole[rows:], self._taken + rows
        return whole[:rows]

    def require_end(self, rows: int) -> None:
        """
        Raises:
            DataError: there are more ids than rows.
        """
        left = len(self._left) + sum(map(len, self._pieces))
        if left:
            raise DataError(f"{self._path}: {rows + left:,} ids, but {self._source} has {rows:,} rows")


def _has_header(path: str) -> bool:
    """Whether the first line of a text names an id or a sequence column."""
    try:
        return find_column(TextTable.of(path).names, ID_COLUMNS + SEQUENCE_COLUMNS) is not None
    except DataError:
        return False


def _type_of(path: str) -> pafs.FileType:
    filesystem, place = locate(path)
    return filesystem.get_file_info(place).type
