"""Workbooks (XLSX): one sheet with a header, read row by row.

Excel makes dates and numbers of some ids (SEPT1, 1E10, 007). Cells that show it are refused rather than written as what
they are now; ids that are plain whole numbers throughout are taken as they look, also those that were once 007.
"""

import datetime
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pyarrow as pa

from resvae_ray.data.layout import some_names
from resvae_ray.errors import DataError, ResVAERayError, UsageError, first_line
from resvae_ray.extras import module_to_read
from resvae_ray.files.place import locate

BESIDE_SHEETS_MOST = 1 << 30  # bytes, unpacked, of all that is held in memory: the texts, the styles
PACKED_MOST = 200  # bytes of a large sheet from one: numbers come to 5, a bomb to 1000
BLANK_ROWS_MOST = 1 << 20  # what Excel allows
TEXTS_AT_ONCE = 4096  # of a column that is looked through
PLAIN_FORMATS = ("General", "0", "@")  # in which a whole number looks like its digits
AS_TEXT = "set the column's format to Text in Excel and enter the ids again"


class Sheet:
    """A sheet of an open workbook; see `open_sheet`.

    Attributes:
        title: its name.
        names: of the columns.

    Raises:
        DataError: it has no header.
    """

    def __init__(self, sheet: Any, source: str) -> None:
        self._sheet, self._source = sheet, source
        self._blank = module_to_read(source, "openpyxl.cell.read_only").EMPTY_CELL
        self.title: str = sheet.title
        self.names = _header(next(self._lines(), []), f"{source}: sheet {self.title!r}")

    def rows(self) -> Iterator[list[Any]]:
        """The cells of each row below the header, one per column.

        Raises:
            DataError: a blank row above the last, or a cell to the right of the header.
        """
        for row, line in enumerate(islice(self._lines(), 1, None), 1):
            width = len(self.names)
            if any(cell.value is not None for cell in line[width:]):
                raise DataError(
                    f"{self._source}: row {row}: a cell to the right of the header, which has {width} columns"
                )
            yield [*line[:width], *[self._blank] * (width - len(line))]

    def texts(self, name: str) -> Iterator[pa.Array]:
        """The cells of a column as texts, in pieces; the first one alone, which often tells enough."""
        position = self.names.index(name)
        cells, count = (line[position] for line in self.rows()), 1
        while piece := list(islice(cells, count)):
            yield cell_texts(piece)
            count = TEXTS_AT_ONCE

    def _lines(self) -> Iterator[Sequence[Any]]:
        """The rows with the header, down to the last that is not blank."""
        # Some tools write a wrong sheet size, which would cut off rows.
        self._sheet.reset_dimensions()
        blank, row = 0, 0
        cells = self._sheet.iter_rows()
        while True:
            # openpyxl warns of charts and rules that it passes over.
            with warnings.catch_warnings(action="ignore"):
                line = next(cells, None)
            if line is None:
                return
            if all(cell.value is None for cell in line):
                blank += 1
                if blank > BLANK_ROWS_MOST:
                    raise DataError(f"{self._source}: more than {BLANK_ROWS_MOST:,} blank rows")
                continue
            if blank and row:
                raise DataError(f"{self._source}: row {row} is blank, and rows follow it; remove blank rows")
            row, blank = row + 1 + blank, 0
            yield line


@contextmanager
def open_sheet(source: str, wanted: str | None = None) -> Iterator[Sheet]:
    """The sheet called `wanted`, else the first.

    Raises:
        DataError: not a workbook, or the sheet has no header.
        UsageError: openpyxl is not installed; the sheet is missing.
    """
    openpyxl = module_to_read(source, "openpyxl")
    filesystem, place = locate(source)
    try:
        with filesystem.open_input_file(place) as raw:
            _refuse_bomb(raw, source)
            with warnings.catch_warnings(action="ignore"):
                workbook = openpyxl.load_workbook(raw, read_only=True, data_only=True, keep_links=False)
            yield Sheet(_chosen(workbook, source, wanted), source)
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


def _chosen(workbook: Any, source: str, wanted: str | None) -> Any:
    sheets = {sheet.title: sheet for sheet in workbook.worksheets}
    if wanted is not None and wanted not in sheets:
        raise UsageError(f"{source}: --sheet {wanted}: no such sheet; there are {some_names(list(sheets))}")
    if not sheets:
        raise DataError(f"{source}: a workbook without a sheet of cells")
    return sheets[wanted] if wanted is not None else next(iter(sheets.values()))


def _header(line: Sequence[Any], where: str) -> list[str]:
    """The names of the columns; unnamed ones at the end are none."""
    names = ["" if cell.value is None else str(cell.value) for cell in line]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError(f"{where} is empty; expected a header with the column names")
    return names


class IdCells:
    """Makes texts of the cells of an id column, of which all must be text, or all whole numbers.

    Args:
        where: the file and the column, for messages.
    """

    def __init__(self, source: str, column: str) -> None:
        self._source, self._column = source, column
        self._type: type | None = None

    def texts(self, cells: Sequence[Any], first_row: int) -> pa.Array:
        """The ids (n); "" where one is missing.

        Raises:
            DataError: Excel has changed one; its row is named, counted from `first_row`.
        """
        return pa.array([self._text(cell, row) for row, cell in enumerate(cells, first_row)], pa.string())

    def _text(self, cell: Any, row: int) -> str:
        value = cell.value
        if value is None or value == "":
            return ""
        where = f"{self._source}: row {row}, column {self._column}"
        if isinstance(value, bool | datetime.date | datetime.time | datetime.timedelta) or cell.data_type == "e":
            raise DataError(f"{where}: Excel has made {value_text(value)!r} of the id, as it does of SEPT1; {AS_TEXT}")
        if isinstance(value, float) or (isinstance(value, int) and not _looks_like_digits(cell)):
            raise DataError(
                f"{where}: the id is the number {value} in the format {cell.number_format!r}, which Excel may have "
                f"made of an id such as 1E10 or 007; {AS_TEXT}"
            )
        if self._type not in (None, type(value)):
            kinds = "a number after ids that are text" if self._type is str else "text after ids that are numbers"
            raise DataError(f"{where}: {value!r} is {kinds}; {AS_TEXT}")
        self._type = type(value)
        return str(value)


def _looks_like_digits(cell: Any) -> bool:
    return cell.number_format in PLAIN_FORMATS and abs(cell.value) < 10**11  # beyond, Excel shows an exponent


def cell_texts(cells: Sequence[Any]) -> pa.Array:
    """Cells as texts (n); null where a cell is empty."""
    return pa.array([None if cell.value is None else value_text(cell.value) for cell in cells], pa.string())


def value_text(value: Any) -> str:
    """A cell's value as text: dates as ISO 8601, truth values as Excel shows them."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
