"""Tables that are not FEATURES: a test set's ids and sequences, a list of ids.

Read are Parquet (a file, a folder, a glob), CSV and TSV, FASTA, and plain text with an id a line; text also gzipped.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs as pafs

from resvae_ray.data.layout import ID_COLUMNS, find_column, some_names
from resvae_ray.data.parquet_pieces import ID_BATCH_ROWS, SUFFIX, column_pieces, parquet_file, provenance_of
from resvae_ray.data.proteins import READERS, fasta, read_proteins
from resvae_ray.data.schema import IDS_KEY, ROW_NUMBERS, as_text, row_numbers
from resvae_ray.data.text_table import TextTable
from resvae_ray.errors import DataError
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import locate
from resvae_ray.names import ID, SEQUENCE

FASTA = tuple(ending for ending, reader in READERS.items() if reader is fasta.read)
TABLES = (".csv", ".tsv")
LIST = ".txt"


class OtherTable(ABC):
    """A table whose columns are read one by one; `names` are the columns."""

    names: list[str]

    def __init__(self, path: str) -> None:
        self.path = path

    @staticmethod
    def open(path: str | Path, otherwise: "type[OtherTable] | None" = None) -> "OtherTable":
        """The table, by the ending of its name; a file with another ending is `otherwise`, or Parquet.

        Raises:
            DataError: it cannot be read.
        """
        path = str(path)
        plain = path.lower().removesuffix(".gz")
        kinds: dict[tuple[str, ...], type[OtherTable]] = {TABLES: _Delimited, FASTA: _Fasta, (LIST,): _IdList}
        kinds[SUFFIX,] = _Parquet
        known = next((kind for endings, kind in kinds.items() if plain.endswith(endings)), None)
        return (known or (_is_file(path) and otherwise) or _Parquet)(path)

    @abstractmethod
    def texts(self, name: str) -> Iterator[pa.Array]:
        """The texts in the column `name`, in order, in pieces.

        Raises:
            DataError: the table is damaged, or the column holds what has no text.
        """

    def is_numbered(self, name: str) -> bool:
        """Whether the ids in the column `name` are but the numbers of the rows."""
        return bool(row_numbers(name, next(self.texts(name), pa.array([], pa.string()))))


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
        return (batch.ids if name == ID else batch.sequences for batch in read_proteins(self.path))


class _IdList(OtherTable):
    names = [ID]  # noqa: RUF012

    def texts(self, name: str) -> Iterator[pa.Array]:
        """The ids, of which there is one a line; empty lines are passed over.

        Raises:
            DataError: it is no text, or a table.
        """
        filesystem, place = locate(self.path)
        try:
            with filesystem.open_input_stream(place, compression="detect") as raw:
                lines = (line.strip() for line in io.TextIOWrapper(raw, encoding="utf-8-sig"))
                while piece := list(islice(filter(None, lines), ID_BATCH_ROWS)):
                    if table := next((line for line in piece if "\t" in line), None):
                        raise DataError(f"{self.path}: {table[:20]!r} has a tab; a table must end in .tsv or .csv")
                    yield pa.array(piece, pa.string())
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file or folder") from None
        except (UnicodeDecodeError, OSError) as error:
            raise DataError(f"{self.path}: not a text with an id a line: {error}") from None


def id_list(path: str | Path) -> Iterator[pa.Array]:
    """The ids in a list, in pieces: the id column of a table, or the lines of a text that are not empty.

    Raises:
        DataError: it cannot be read, or the table has no id column.
    """
    table = OtherTable.open(path, otherwise=_IdList)
    if (column := find_column(table.names, ID_COLUMNS)) is None:
        raise DataError(f"{path}: no id column; the columns are {some_names(table.names)}")
    for texts in table.texts(column):
        yield texts.filter(pc.not_equal(pc.fill_null(texts, ""), ""))


def _is_file(path: str) -> bool:
    filesystem, place = locate(path)
    return filesystem.get_file_info(place).type == pafs.FileType.File
