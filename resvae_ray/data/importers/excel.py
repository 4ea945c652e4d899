"""XLSX: a header, an id column, one numbered column per feature, in one sheet of a workbook.

Excel makes dates and numbers of some ids (SEPT1, 1E10, 007). Cells that show it are refused rather than written as what
they are now; ids that are plain whole numbers throughout are taken as they look, also those that were once 007. All
other columns become text.
"""

import datetime
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from resvae_ray.data.features import batch_rows
from resvae_ray.data.id_column import import_layout
from resvae_ray.data.importers.arrays import as_batch
from resvae_ray.data.layout import FEATURES_COLUMNS, ColumnChoice, Layout, find_column, has_numbered, some_names
from resvae_ray.data.schema import FeatureBatch, check_batch, vector_matrix
from resvae_ray.data.vector_columns import text_vectors
from resvae_ray.errors import DataError, ResVAERayError, UsageError, first_line
from resvae_ray.extras import module_to_read
from resvae_ray.files.place import locate
from resvae_ray.names import ID, LABEL

BESIDE_SHEETS_MOST = 1 << 30  # bytes, unpacked, of all that is held in memory: the texts, the styles
PACKED_MOST = 200  # bytes of a large sheet from one: numbers come to 5, a bomb to 1000
BLANK_ROWS_MOST = 1 << 20  # what Excel allows
TEXTS_AT_ONCE = 4096  # of a column that is looked through
PLAIN_FORMATS = ("General", "0", "@")  # in which a whole number looks like its digits
AS_TEXT = "set the column's format to Text in Excel and enter the ids again"


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The rows of the chosen sheet or the first, in order. Rows are counted from 1 below the header.

    Raises:
        DataError: not a workbook, no header, an id that Excel has changed, a cell without a number, a blank row.
        UsageError: openpyxl is not installed; a sheet or column that the user named is not there.
    """
    with _open(source) as workbook:
        sheet = _sheet(workbook, source, choice)
        rows = _rows(sheet, source)
        names = _header(next(rows, []), f"{source}: sheet {sheet.title!r}")

        def texts(name: str) -> Iterator[pa.Array]:
            return _texts_of(sheet, source, names.index(name))

        layout, of_ids = import_layout(names, _vectors(names, texts, choice), texts, choice, source)
        table = _Table(layout, names, source, {"sheet": sheet.title, **of_ids})
        for start, cells in _stacks(rows, table):
            batch = table.batch(cells, start)
            check_batch(batch, layout.features if layout.wide else None, source, start + 1)
            yield batch


@contextmanager
def _open(source: str) -> Iterator[Any]:
    openpyxl = module_to_read(source, "openpyxl")
    filesystem, place = locate(source)
    try:
        with filesystem.open_input_file(place) as raw:
            _refuse_bomb(raw, source)
            with warnings.catch_warnings(action="ignore"):
                workbook = openpyxl.load_workbook(raw, read_only=True, data_only=True, keep_links=False)
            yield workbook
            workbook.close()
    except ResVAERayError:
        raise
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except Exception as error:  # whatever a damaged file makes its readers raise
        raise DataError(f"{source}: not a readable XLSX workbook: {first_line(error)}") from None


def _refuse_bomb(raw: pa.NativeFile, source: str) -> None:
    """A few packed kilobytes can be many gigabytes of text; sheets are read piece by piece, the rest is not."""
    with zipfile.ZipFile(raw) as archive:
        beside = sum(info.file_size for info in archive.infolist() if "worksheets/" not in info.filename)
        for info in archive.infolist():
            if info.file_size > max(BESIDE_SHEETS_MOST, PACKED_MOST * info.compress_size):
                raise DataError(f"{source}: {info.filename} unpacks to {info.file_size:,} bytes; save it as CSV")
    if beside > BESIDE_SHEETS_MOST:
        raise DataError(f"{source}: {beside:,} bytes of text beside the sheets; save it as CSV")
    raw.seek(0)


def _sheet(workbook: Any, source: str, choice: ColumnChoice) -> Any:
    sheets = {sheet.title: sheet for sheet in workbook.worksheets}
    if choice.sheet is not None and choice.sheet not in sheets:
        raise UsageError(f"{source}: --sheet {choice.sheet}: no such sheet; there are {some_names(list(sheets))}")
    if not sheets:
        raise DataError(f"{source}: a workbook without a sheet of cells")
    return sheets[choice.sheet] if choice.sheet is not None else next(iter(sheets.values()))


def _rows(sheet: Any, source: str) -> Iterator[Sequence[Any]]:
    """The rows down to the last that is not blank.

    Raises:
        DataError: a blank row above the last.
    """
    # Some tools write a wrong sheet size, which would cut off rows.
    sheet.reset_dimensions()
    blank, row = 0, 0
    cells = sheet.iter_rows()
    while True:
        # openpyxl warns of charts and rules that it passes over.
        with warnings.catch_warnings(action="ignore"):
            line = next(cells, None)
        if line is None:
            return
        if all(cell.value is None for cell in line):
            blank += 1
            if blank > BLANK_ROWS_MOST:
                raise DataError(f"{source}: more than {BLANK_ROWS_MOST:,} blank rows")
            continue
        if blank and row:
            raise DataError(f"{source}: row {row} is blank, and rows follow it; remove blank rows")
        row, blank = row + 1 + blank, 0
        yield line


def _vectors(names: list[str], texts: Callable[[str], Iterator[pa.Array]], choice: ColumnChoice) -> list[str]:
    """The columns that hold vectors as text; none if columns are numbered, unless one has a usual name."""
    if has_numbered(names) and choice.features_column is None:
        names = [name for name in names if find_column([name], FEATURES_COLUMNS)]
    return text_vectors(
        names, lambda name: next(iter(next(texts(name), pa.array([""]))), pa.scalar("")).as_py(), choice
    )


def _texts_of(sheet: Any, source: str, position: int) -> Iterator[pa.Array]:
    """The cells of a column below the header as texts, in pieces; the first one alone, which often tells enough."""
    cells = (line[position].value if position < len(line) else None for line in islice(_rows(sheet, source), 1, None))
    count = 1
    while piece := list(islice(cells, count)):
        yield pa.array([None if value is None else _as_text(value) for value in piece], pa.string())
        count = TEXTS_AT_ONCE


def _header(line: Sequence[Any], where: str) -> list[str]:
    """The names of the columns; unnamed ones at the end are none."""
    names = ["" if cell.value is None else str(cell.value) for cell in line]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError(f"{where} is empty; expected a header with the column names")
    return names


def _stacks(rows: Iterator[Sequence[Any]], table: "_Table") -> Iterator[tuple[int, list[Sequence[Any]]]]:
    start, stack = 0, []
    for line in rows:
        stack.append(table.fitted(line, start + len(stack) + 1))
        if len(stack) == batch_rows(len(table.layout.features)):
            yield start, stack
            start, stack = start + len(stack), []
    if stack:
        yield start, stack


class _Table:
    """The sheet's columns, and how its cells become FEATURES."""

    def __init__(self, layout: Layout, names: list[str], source: str, found: dict[str, str]) -> None:
        self.layout, self.names, self.source, self.found = layout, names, source, found
        self.place = {name: position for position, name in enumerate(names)}
        self.positions = [self.place[name] for name in layout.features]
        self.id_type: type | None = None
        self.blank = module_to_read(source, "openpyxl.cell.read_only").EMPTY_CELL

    def fitted(self, line: Sequence[Any], row: int) -> list[Any]:
        """The cells of a row, one a column."""
        width = len(self.names)
        if any(cell.value is not None for cell in line[width:]):
            raise DataError(f"{self.source}: row {row}: a cell to the right of the header, which has {width} columns")
        return [*line[:width], *[self.blank] * (width - len(line))]

    def batch(self, lines: list[Sequence[Any]], start: int) -> FeatureBatch:
        """Rows of cells as FEATURES; `start` rows come before them."""
        columns = {}
        if self.layout.id is not None:
            columns[ID] = self._ids([line[self.place[self.layout.id]] for line in lines], start)
        if self.layout.label is not None:
            columns[LABEL] = self._texts(lines, self.layout.label)
        columns |= {name: self._texts(lines, name) for name in self.layout.others}
        if self.layout.wide:
            matrix = np.array([self._numbers(line, start + row) for row, line in enumerate(lines, 1)], np.float64)
        else:
            name = self.layout.features[0]
            matrix = vector_matrix(self._texts(lines, name), name, self.source, start + 1)
        return as_batch(matrix, start, columns, self.source, self.found)

    def _numbers(self, line: Sequence[Any], row: int) -> list[float]:
        values = [line[position].value for position in self.positions]
        if not {*map(type, values)} <= {int, float}:
            wrong = next(n for n, value in enumerate(values) if type(value) not in (int, float))
            what = "the value is missing" if values[wrong] is None else f"{_as_text(values[wrong])!r} is not a number"
            raise DataError(f"{self.source}: row {row}, column {self.layout.features[wrong]}: {what}")
        return values  # pyright: ignore[reportReturnType]

    def _texts(self, lines: list[Sequence[Any]], name: str) -> pa.Array:
        values = [line[self.place[name]].value for line in lines]
        return pa.array([None if value is None else _as_text(value) for value in values], pa.string())

    def _ids(self, cells: list[Any], start: int) -> pa.Array:
        return pa.array([self._id(cell, row) for row, cell in enumerate(cells, start + 1)], pa.string())

    def _id(self, cell: Any, row: int) -> str:
        value = cell.value
        if value is None or value == "":
            return ""
        where = f"{self.source}: row {row}, column {self.layout.id}"
        if isinstance(value, bool | datetime.date | datetime.time | datetime.timedelta) or cell.data_type == "e":
            raise DataError(f"{where}: Excel has made {_as_text(value)!r} of the id, as it does of SEPT1; {AS_TEXT}")
        if isinstance(value, float) or (isinstance(value, int) and not _looks_like_digits(cell)):
            raise DataError(
                f"{where}: the id is the number {value} in the format {cell.number_format!r}, which Excel may have "
                f"made of an id such as 1E10 or 007; {AS_TEXT}"
            )
        if self.id_type not in (None, type(value)):
            kinds = "a number after ids that are text" if self.id_type is str else "text after ids that are numbers"
            raise DataError(f"{where}: {value!r} is {kinds}; {AS_TEXT}")
        self.id_type = type(value)
        return str(value)


def _looks_like_digits(cell: Any) -> bool:
    return cell.number_format in PLAIN_FORMATS and abs(cell.value) < 10**11  # beyond, Excel shows an exponent


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
