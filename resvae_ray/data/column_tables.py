"""Tables of named columns: Parquet, CSV, TSV, TXT and XLSX, read column by column in pieces.

Columns of Parquet keep their types; those of text and of workbooks are texts.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import pyarrow as pa

from resvae_ray.data.arrow_types import one_schema
from resvae_ray.data.file_kind import PARQUET, TEXT, XLSX, kind_by_content
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS, only_number_rows
from resvae_ray.data.parquet_pieces import ID_BATCH_ROWS, SUFFIX, column_pieces, parquet_file, provenance_of
from resvae_ray.data.schema import as_array, as_text
from resvae_ray.data.text_table import TextTable
from resvae_ray.data.workbook import IdCells, cell_texts, open_sheet
from resvae_ray.errors import UsageError
from resvae_ray.files.listing import list_files

TEXT_ENDINGS, WORKBOOKS = (".csv", ".tsv", ".txt"), (".xlsx", ".xlsm")


class ColumnTable(ABC):
    """A table whose columns are read by name; `names` are the columns."""

    names: list[str]
    has_columns = True  # a list of ids has none

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def pieces(self, names: Sequence[str], ids: str | None = None) -> Iterator[pa.Table]:
        """The columns `names`, in order, in pieces.

        Args:
            ids: the one of them that has the ids, which become texts.

        Raises:
            DataError: the table is damaged, or the column of ids holds what cannot be one.
        """

    def texts(self, name: str) -> Iterator[pa.Array]:
        """The texts in the column `name`, in order, in pieces.

        Raises:
            DataError: the table is damaged, or the column holds what has no text.
        """
        for piece in self.pieces([name]):
            yield as_text(piece.column(0), f"{self.path}: column {name}")

    def ids(self, name: str) -> Iterator[pa.Array]:
        """The texts in the column `name`, which holds the ids; see `pieces`."""
        return self.texts(name)

    def is_numbered(self, name: str) -> bool:
        """Whether the ids in the column `name` are but the numbers of the rows."""
        return only_number_rows(name, lambda: self.texts(name))


def table_kind(path: str) -> str | None:
    """TEXT, PARQUET or XLSX, by the content and else by the name; None for other content.

    A folder or a glob is read as Parquet.
    """
    kind, plain = kind_by_content(path), path.lower().removesuffix(".gz")
    if kind is not None:
        return kind if kind in (TEXT, PARQUET, XLSX) else None
    if plain.endswith(TEXT_ENDINGS):
        return TEXT
    return XLSX if plain.endswith(WORKBOOKS) else PARQUET


def open_columns(path: str, sheet: str | None = None) -> ColumnTable:
    """The table of a kind that `table_kind` knows.

    Args:
        sheet: of a workbook; the first unless one is named.

    Raises:
        DataError: it cannot be read, or has no header.
        UsageError: the sheet is missing, or the table has none.
    """
    kind = table_kind(path)
    if sheet is not None and kind != XLSX:
        raise UsageError(f"{path}: --sheet {sheet}: it chooses in .xlsx files alone")
    if kind == XLSX:
        return ExcelTable(path, sheet)
    return DelimitedTable(path) if kind == TEXT else ParquetTable(path)


class ParquetTable(ColumnTable):
    """Parquet: a file, a folder or a glob."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._filesystem, self._files = list_files(path, SUFFIX)
        schema = parquet_file(self._filesystem, self._files[0]).schema_arrow
        self.names, self._provenance = schema.names, provenance_of(schema)

    def pieces(self, names: Sequence[str], ids: str | None = None) -> Iterator[pa.Table]:
        """See `ColumnTable`; the types of several files are widened to one."""
        wanted = list(names)
        schemas = [parquet_file(self._filesystem, file).schema_arrow for file in self._files]
        schema = one_schema([pa.schema([s.field(n) for n in wanted if n in s.names]) for s in schemas], self._files)
        for table in column_pieces(self._filesystem, self._files, wanted):
            piece = table.select(schema.names).cast(schema)
            if ids is not None:
                texts = as_text(piece.column(ids), f"{self.path}: column {ids}")
                piece = piece.set_column(piece.schema.get_field_index(ids), ids, texts)
            yield piece

    def texts(self, name: str) -> Iterator[pa.Array]:
        """See `ColumnTable`; each file may store the texts in its own way."""
        for table in column_pieces(self._filesystem, self._files, [name]):
            yield as_text(table.column(0), f"{self.path}: column {name}")

    def is_numbered(self, name: str) -> bool:
        """See `ColumnTable`; FEATURES record it."""
        return self._provenance.get(IDS_KEY) == ROW_NUMBERS or super().is_numbered(name)


class DelimitedTable(ColumnTable):
    """CSV, TSV or TXT, also gzipped."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._table = TextTable.of(path)
        self.names = self._table.names

    def pieces(self, names: Sequence[str], ids: str | None = None) -> Iterator[pa.Table]:
        """See `ColumnTable`."""
        for piece in self._table.pieces(dict.fromkeys(names, pa.string())):
            yield pa.Table.from_batches([piece])


class ExcelTable(ColumnTable):
    """A sheet of a workbook, the first unless one is named."""

    def __init__(self, path: str, sheet: str | None = None) -> None:
        super().__init__(path)
        self._sheet = sheet
        with open_sheet(path, sheet) as opened:
            self.names = opened.names

    def pieces(self, names: Sequence[str], ids: str | None = None) -> Iterator[pa.Table]:
        """See `ColumnTable`; ids that Excel has changed are refused."""
        of_ids = IdCells(self.path, ids or "")
        with open_sheet(self.path, self._sheet) as sheet:
            places = {name: sheet.names.index(name) for name in names}
            row, stack = 1, []

            def columns() -> pa.Table:
                cells = {name: [line[place] for line in stack] for name, place in places.items()}
                return pa.table({n: of_ids.texts(c, row) if n == ids else cell_texts(c) for n, c in cells.items()})

            for line in sheet.rows():
                stack.append(line)
                if len(stack) == ID_BATCH_ROWS:
                    yield columns()
                    row, stack = row + len(stack), []
            if stack:
                yield columns()

    def ids(self, name: str) -> Iterator[pa.Array]:
        """See `ColumnTable`."""
        return (as_array(piece.column(0)) for piece in self.pieces([name], name))
