"""Single columns of tables that are not FEATURES: a test set's ids or sequences, a list of ids.

Read are Parquet (a file, a folder, a glob), CSV and TSV, also gzipped, and for lists of ids plain text.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs as pafs

from resvae_ray.data.features import ID_BATCH_ROWS, SUFFIX, parquet_file
from resvae_ray.data.schema import ID_COLUMNS, as_text, find_column
from resvae_ray.data.text_table import TextTable
from resvae_ray.errors import DataError
from resvae_ray.storage import list_files, locate


def column_names(path: str | Path) -> list[str]:
    """The columns of a table.

    Raises:
        DataError: it cannot be read.
    """
    if not _is_delimited(str(path)):
        filesystem, files = list_files(path, SUFFIX)
        return parquet_file(filesystem, files[0]).schema_arrow.names
    return TextTable.of(str(path)).names


def text_column(path: str | Path, name: str) -> Iterator[pa.Array]:
    """The texts in the column `name`, in order, in pieces.

    Raises:
        DataError: the table is damaged, or the column holds what has no text.
    """
    for table in _column_of(path, name):
        yield as_text(table.column(0), f"{path}: column {name}")


def id_list(path: str | Path) -> Iterator[pa.Array]:
    """The ids in a list, in pieces: the id column of a table, or the lines of a text that are not empty.

    Raises:
        DataError: it cannot be read, or the table has no id column.
    """
    if _is_text(str(path)):
        yield from _lines(str(path))
        return
    names = column_names(path)
    if (column := find_column(names, ID_COLUMNS)) is None:
        raise DataError(f"{path}: no id column; the columns are {', '.join(map(repr, names[:8]))}")
    for texts in text_column(path, column):
        yield texts.filter(pc.not_equal(pc.fill_null(texts, ""), ""))


def _is_text(path: str) -> bool:
    filesystem, place = locate(path)
    is_file = filesystem.get_file_info(place).type == pafs.FileType.File
    return is_file and not _is_delimited(path) and not path.lower().endswith(SUFFIX)


def _lines(path: str) -> Iterator[pa.Array]:
    filesystem, place = locate(path)
    with filesystem.open_input_stream(place, compression="detect") as raw:
        lines = (line.strip() for line in io.TextIOWrapper(raw, encoding="utf-8-sig"))
        try:
            while piece := list(islice(filter(None, lines), ID_BATCH_ROWS)):
                yield pa.array(piece, pa.string())
        except (UnicodeDecodeError, OSError) as error:
            raise DataError(f"{path}: not a text with an id a line: {error}") from None


def _is_delimited(path: str) -> bool:
    """Whether it is a table of text; a .txt is a list."""
    return path.lower().removesuffix(".gz").endswith((".csv", ".tsv"))


def _column_of(path: str | Path, name: str) -> Iterator[pa.Table]:
    if not _is_delimited(str(path)):
        filesystem, files = list_files(path, SUFFIX)
        for file in files:
            try:
                yield parquet_file(filesystem, file).read(columns=[name])
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(f"{file}: damaged: {str(error).splitlines()[0]}") from None
    else:
        for piece in TextTable.of(str(path)).pieces({name: pa.string()}):
            yield pa.Table.from_batches([piece])
