"""Text tables: CSV, TSV and TXT, also gzipped.

The delimiter (comma, semicolon, tab), UTF-16 and a decimal comma are seen in the first lines.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pacsv

from resvae_ray.data.file_kind import LFS_POINTER, is_gzip, refuse_pointer
from resvae_ray.data.lone_quotes import QuoteWatch
from resvae_ray.errors import DataError, first_line
from resvae_ray.files.place import locate

BLOCK_BYTES = 8 << 20  # of text parsed at a time; a row must fit
HEADER_BYTES = 64 << 20
COLUMNS_MOST = 1 << 16  # the widest embeddings have 51,200 numbers; a million columns took 9 GB
DELIMITERS = ",;\t"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
DECIMAL_POINT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(DECIMAL_POINT.pattern.replace(r"\.", ","))


@dataclass(frozen=True)
class TextTable:
    """A file of text, as its first lines show it to be written.

    Attributes:
        names: of the columns.
        fields: of the row below the header.
        header_bytes: how many bytes the header takes.
    """

    source: str
    encoding: str
    delimiter: str
    names: list[str]
    fields: list[str]
    header_bytes: int

    @classmethod
    def of(cls, source: str) -> "TextTable":
        """
        Raises:
            DataError: no such file, no text, or no header.
        """
        encoding, lines = _first_lines(source)
        if not lines or not lines[0].strip():
            raise DataError(f"{source}: the file is empty; expected a header with the column names")
        unquoted = re.sub(r'"[^"]*"', "", lines[0])
        by_name = "," if re.search(r"\.csv(\.gz)?$", source.lower()) else "\t"
        delimiter = max(DELIMITERS, key=lambda sign: (unquoted.count(sign), sign == by_name))
        try:
            names = next(csv.reader(lines[:1], delimiter=delimiter))
        except csv.Error as error:
            raise DataError(f"{source}: the header cannot be read: {error}") from None
        _require_names(names, source)
        if len(names) > COLUMNS_MOST:
            raise DataError(
                f"{source}: {len(names):,} columns; a table of text may have {COLUMNS_MOST:,}, since each takes memory "
                "for itself; give wider vectors as Parquet, NPZ or HDF5"
            )
        return cls(source, encoding, delimiter, names, _fields(lines[1:], delimiter), len(lines[0].encode()))

    def pieces(self, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """The rows, some at a time.

        Args:
            types: of the columns that are wanted, text or numbers.

        Raises:
            DataError: text in a column of numbers, a row of another length, a damaged file.
        """
        with open_stream(self.source) as raw:
            try:
                yield from pacsv.open_csv(
                    raw if self.encoding == "utf-16" else QuoteWatch(raw, self.source, self.delimiter, len(self.names)),
                    # A row of numbers takes about as many bytes as its names, twice at most.
                    pacsv.ReadOptions(
                        use_threads=False,
                        block_size=max(BLOCK_BYTES, 8 * self.header_bytes),
                        encoding="utf8" if self.encoding == "utf-8-sig" else self.encoding,
                    ),
                    pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                    pacsv.ConvertOptions(
                        column_types=types,
                        include_columns=list(types),
                        strings_can_be_null=False,
                        decimal_point=self.decimal_point(),
                    ),
                )
            except (pa.ArrowInvalid, OSError, UnicodeError) as error:
                raise DataError(f"{self.source}: {_explain(error, self.names)}") from None

    def texts(self, name: str) -> Iterator[pa.Array]:
        """The texts in the column `name`, in pieces; see `pieces`."""
        return (piece.column(0) for piece in self.pieces({name: pa.string()}))

    def decimal_point(self) -> str:
        """The decimal separator of the numbers in the first row."""
        commas = any(map(DECIMAL_COMMA.fullmatch, self.fields))
        return "," if commas and not any(map(DECIMAL_POINT.fullmatch, self.fields)) else "."


def _fields(lines: list[str], delimiter: str) -> list[str]:
    try:
        return next(csv.reader(lines, delimiter=delimiter), [])
    except csv.Error:  # a field too long for csv, hence not a number
        return []


def _first_lines(source: str) -> tuple[str, list[str]]:
    """The encoding of the text, and its first two lines."""
    with open_stream(source) as raw:
        try:
            head = raw.read(len(LFS_POINTER))
        except OSError as error:
            raise DataError(f"{source}: cannot be read: {error}") from None
    refuse_pointer(head, source)
    encoding = "utf-16" if head.startswith(UTF_16_MARKS) else "utf-8-sig"
    with open_stream(source) as raw:
        text = io.TextIOWrapper(raw, encoding=encoding, newline="")
        try:
            lines = [line for line in (text.readline(HEADER_BYTES) for _ in range(2)) if line]
        except (UnicodeError, OSError) as error:
            raise DataError(f"{source}: not UTF-8 text ({error}); save it as UTF-8") from None
    if lines and "\0" in lines[0]:
        raise DataError(f"{source}: not UTF-8 text (the first line has zero bytes); save it as UTF-8")
    return encoding, lines


def _require_names(names: list[str], source: str) -> None:
    if re.fullmatch(r"sep=.?", names[0], re.IGNORECASE):
        raise DataError(f"{source}: the first line is {names[0]!r}, which is for Excel alone; remove it")
    if number := next(filter(DECIMAL_POINT.fullmatch, names), None):
        raise DataError(f"{source}: the first line has the number {number}; expected a header with the column names")


def open_stream(source: str) -> pa.NativeFile:
    """The bytes of a file, unpacked if gzip packed them.

    Raises:
        DataError: no such file, or it cannot be read.
    """
    filesystem, place = locate(source)
    try:
        return filesystem.open_input_stream(place, compression="gzip" if is_gzip(filesystem, place) else None)
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error}") from None


def _explain(error: Exception, names: list[str]) -> str:
    """Pyarrow's message with the column by name and the row counted from 1 below the header."""
    line = first_line(error)
    row = f"row {int(found[1]) - 1}" if (found := re.search(r"Row #(\d+)", line)) else "a row"
    if found := re.search(r"column #(\d+).*invalid value '(.*)'", line):
        hint = "; write numbers with a decimal point" if DECIMAL_COMMA.fullmatch(found[2]) else ""
        return f"{row}, column {names[int(found[1])]}: {found[2]!r} is not a number{hint}"
    if found := re.search(r"column #(\d+).*invalid UTF8", line):
        return f"{row}, column {names[int(found[1])]}: not UTF-8 text; save the file as UTF-8"
    if found := re.search(r"Expected (\d+) columns, got (\d+)", line):
        return f"{row}: {found[2]} fields, but the header has {found[1]}"
    return line
