"""CSV and TSV, also gzipped: a header, an id column, one numbered column a feature.

Columns that are no features stay text exactly as it stands in the file, so that no id or label changes its look.
"""

import csv
import io
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv as pacsv

from resvae_ray.data.schema import ColumnChoice, FeatureBatch, check_batch, decode, find_layout
from resvae_ray.errors import DataError
from resvae_ray.storage import locate

BLOCK_BYTES = 8 << 20  # of text parsed at a time; a row must fit
HEADER_BYTES = 64 << 20


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The rows of a delimited file, in order.

    Raises:
        DataError: no header, text in a number column, a row of another length, a missing or non-finite value.
    """
    names = column_names(source)
    layout = find_layout(names, [], choice, source)
    numbers = set(layout.features)
    row = 1
    for piece in pieces(source, {name: pa.float32() if name in numbers else pa.string() for name in names}):
        batch = decode(pa.Table.from_batches([piece]), layout, source, row)
        check_batch(batch, layout.features, source, row)
        row += len(batch)
        yield batch


def open_stream(source: str) -> pa.NativeFile:
    """The bytes of a file, unpacked where its name ends in .gz.

    Raises:
        DataError: no such file, or it cannot be read.
    """
    filesystem, place = locate(source)
    try:
        return filesystem.open_input_stream(place, compression="detect")
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error}") from None


def column_names(source: str) -> list[str]:
    """
    Raises:
        DataError: no such file, not text, or no header.
    """
    return next(csv.reader([_header(source)], delimiter=_delimiter(source)))


def pieces(source: str, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """The rows of a delimited file, some at a time.

    Args:
        types: of all its columns, in their order.

    Raises:
        DataError: text in a column of numbers, a row of another length, a file that ends too early.
    """
    header_bytes = len(_header(source).encode())
    with open_stream(source) as raw:
        try:
            yield from pacsv.open_csv(
                raw,
                # A row of numbers takes about as many bytes as its names, twice at most.
                pacsv.ReadOptions(use_threads=False, block_size=max(BLOCK_BYTES, 8 * header_bytes)),
                pacsv.ParseOptions(delimiter=_delimiter(source), newlines_in_values=True),
                pacsv.ConvertOptions(column_types=types, strings_can_be_null=False),
            )
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{source}: {_explain(str(error), list(types))}") from None


def _delimiter(source: str) -> str:
    return "\t" if re.search(r"\.tsv(\.gz)?$", source.lower()) else ","


def _header(source: str) -> str:
    with open_stream(source) as raw:
        try:
            line = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="").readline(HEADER_BYTES)
        except (UnicodeDecodeError, OSError) as error:
            raise DataError(f"{source}: not UTF-8 text: {error}") from None
    if not line.strip():
        raise DataError(f"{source}: the file is empty; expected a header with the column names")
    return line


def _explain(message: str, names: list[str]) -> str:
    """Pyarrow's message with the column by name and the row counted from 1 below the header."""
    line = message.splitlines()[0]
    row = f"row {int(found[1]) - 1}" if (found := re.search(r"Row #(\d+)", line)) else "a row"
    if found := re.search(r"column #(\d+).*invalid value '(.*)'", line):
        return f"{row}, column {names[int(found[1])]}: {found[2]!r} is not a number"
    if found := re.search(r"Expected (\d+) columns, got (\d+)", line):
        return f"{row}: {found[2]} fields, but the header has {found[1]}"
    return line
