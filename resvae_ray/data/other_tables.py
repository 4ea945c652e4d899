"""Tables that are not FEATURES: a test set's ids and sequences, a list of ids.

Read are Parquet (a file, a folder, a glob), CSV, TSV and XLSX, FASTA, and plain text with one id per line; text also
gzipped. The content decides which it is: a FASTA file may be called .txt.
"""

import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from resvae_ray.data.arrow_types import as_column
from resvae_ray.data.column_tables import WORKBOOKS, ColumnTable, DelimitedTable, open_columns, table_kind
from resvae_ray.data.file_kind import FASTA, NPY, TEXT, kind_by_content
from resvae_ray.data.layout import ID_COLUMNS, SEQUENCE_COLUMNS, find_column, some_names
from resvae_ray.data.parquet_pieces import ID_BATCH_ROWS, SUFFIX
from resvae_ray.data.proteins import read_proteins
from resvae_ray.data.same_protein import UNIPROT, ProteinIds, match_ids
from resvae_ray.data.text_table import TextTable
from resvae_ray.errors import DataError, UsageError, first_line
from resvae_ray.files.place import locate
from resvae_ray.names import ID, SEQUENCE

TABLES = (".csv", ".tsv")
LIST = ".txt"
MOST_SOUGHT = 64  # columns that are looked through for ids
SEVERAL_ACCESSIONS = re.compile(rf"{UNIPROT}(?:[,;\s]+{UNIPROT})+")


def open_table(path: str | Path) -> ColumnTable:
    """The table, by its content and, where that leaves a choice, by the ending of its name.

    Raises:
        DataError: it cannot be read.
        UsageError: it is not a table of ids.
    """
    path = str(path)
    content, plain = kind_by_content(path), path.lower().removesuffix(".gz")
    if content == FASTA:
        return _Fasta(path)
    if content == TEXT:
        return (DelimitedTable if plain.endswith(TABLES) or _has_header(path) else _IdList)(path)
    if content is None and (plain.endswith(LIST) or _is_unknown_file(path)):
        return _IdList(path)
    if table_kind(path) is None:
        raise UsageError(
            f"{path}: {content} is not a table of ids; expected Parquet, CSV, TSV, XLSX, FASTA or one id per line"
        )
    return open_columns(path)


class _Fasta(ColumnTable):
    names = [ID, SEQUENCE]  # noqa: RUF012

    def pieces(self, names: Sequence[str], ids: str | None = None) -> Iterator[pa.Table]:
        """The sequences, and as ids the whole headers, which hold them in all their forms."""
        for batch in read_proteins(self.path):
            yield pa.table({ID: batch.headers, SEQUENCE: batch.sequences}).select(list(names))


class ArrayTable(ColumnTable):
    """One column: the values in a .npy file with one per row."""

    has_columns = False

    def __init__(self, path: str, name: str) -> None:
        super().__init__(path)
        self.names = [name]

    def pieces(self, names: Sequence[str], ids: str | None = None) -> Iterator[pa.Table]:
        """See `ColumnTable`."""
        filesystem, place = locate(self.path)
        try:
            with filesystem.open_input_file(place) as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # whatever a damaged file makes its reader raise
            raise DataError(f"{self.path}: not a readable array: {first_line(error)}") from None
        if values.ndim != 1 and (values.ndim != 2 or values.shape[1] != 1):
            raise DataError(f"{self.path}: an array of shape {values.shape}; expected one {self.names[0]} per row")
        yield pa.table({self.names[0]: as_column(values, self.path)})


class _IdList(ColumnTable):
    has_columns = False
    names = [ID]  # noqa: RUF012

    def pieces(self, names: Sequence[str], ids: str | None = None) -> Iterator[pa.Table]:
        """The ids, of which there is one a line; empty lines are passed over.

        Raises:
            DataError: it is not text, or it is a table.
        """
        filesystem, place = locate(self.path)
        try:
            with filesystem.open_input_stream(place, compression="detect") as raw:
                text = io.TextIOWrapper(raw, encoding="utf-8-sig")
                entries = (entry for line in text for entry in _entries(line))
                while piece := list(islice(filter(None, entries), ID_BATCH_ROWS)):
                    if piece[0].startswith(("[", "{")):
                        raise DataError(f"{self.path}: {piece[0][:20]!r} is not an id; expected one id per line")
                    if table := next((line for line in piece if "\t" in line), None):
                        raise DataError(
                            f"{self.path}: {table[:20]!r} has a tab, but the first line names no id or sequence "
                            "column; expected one id per line, or a table with a header"
                        )
                    yield pa.table({ID: pa.array(piece, pa.string())})
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file or folder") from None
        except (UnicodeDecodeError, OSError):
            raise DataError(
                f"{self.path}: neither text nor a format that is read; expected Parquet, CSV, TSV, XLSX, FASTA, "
                "features, or one id per line"
            ) from None


def _entries(line: str) -> list[str]:
    """The entries of a line: one, or several UniProt accessions as MaxQuant and people in a hurry write them."""
    text = line.strip().rstrip(",;").strip("\"'")
    return re.split(r"[,;\s]+", text) if SEVERAL_ACCESSIONS.fullmatch(text) else [text]


def column_of_ids(table: ColumnTable, ids: ProteinIds, rows: int) -> tuple[str | None, int]:
    """The column whose texts agree with the most of some ids, and with how many; None if with none.

    Each column is read by itself, so that those of a wide table, one a feature, are left out.

    Args:
        rows: how many ids there are.
    """
    agree: dict[str, int] = {}
    for name in [name for name in table.names if not name[-1:].isdecimal()][:MOST_SOUGHT]:
        try:
            texts = ProteinIds(lambda name=name: table.texts(name))
        except DataError:  # a column of lists has no texts
            continue
        agree[name] = int((match_ids(ids, texts, rows) >= 0).sum())
    best = max(agree, key=agree.__getitem__, default="")
    return (best, agree[best]) if agree.get(best) else (None, 0)


def id_list(path: str | Path) -> tuple[ColumnTable, str]:
    """A list of ids and its id column: the one of a table, the lines of a text, or a one-dimensional .npy.

    Raises:
        DataError: it cannot be read, or the table has no id column.
    """
    table = ArrayTable(str(path), ID) if kind_by_content(str(path)) == NPY else open_table(path)
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
        self._pieces = table.ids(column)
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


def _is_unknown_file(path: str) -> bool:
    """Whether it is a file that neither its content nor its name tells the kind of."""
    filesystem, place = locate(path)
    known = (*TABLES, *WORKBOOKS, SUFFIX)
    is_file = filesystem.get_file_info(place).type == pafs.FileType.File
    return is_file and not path.lower().removesuffix(".gz").endswith(known)
