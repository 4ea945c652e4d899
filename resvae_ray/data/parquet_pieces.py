"""Opens Parquet files and reads them in pieces; errors name the problem and its location."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from resvae_ray.data.arrow_types import plain_batch
from resvae_ray.data.file_kind import refuse_pointer_at
from resvae_ray.errors import DataError, JobError, first_line
from resvae_ray.files.place import is_lost
from resvae_ray.names import PROVENANCE_KEY

SUFFIX = ".parquet"
ID_BATCH_ROWS = 65536
READ_BUFFER_BYTES = 1 << 20  # of a column chunk read ahead, instead of all of it: row groups of others can be huge


def parquet_file(filesystem: pafs.FileSystem, path: str) -> pq.ParquetFile:
    """The file, whose pages are compared with their checksums, where it has some, as they are read.

    Raises:
        DataError: no such file, or not Parquet.
        JobError: the storage cannot be reached.
    """
    try:
        return pq.ParquetFile(
            path,
            filesystem=filesystem,
            pre_buffer=False,
            buffer_size=READ_BUFFER_BYTES,
            page_checksum_verification=True,
        )
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file makes its reader raise
        _raise_if_lost(error, path)
        refuse_pointer_at(filesystem, path)
        if isinstance(error, pa.ArrowInvalid) and not path.lower().endswith(SUFFIX):
            raise DataError(f"{path}: not FEATURES, which are Parquet; run `resvae-ray import` first") from None
        raise DataError(f"{path}: not a readable Parquet file: {first_line(error)}") from None


def column_pieces(filesystem: pafs.FileSystem, files: Iterable[str], names: list[str]) -> Iterator[pa.Table]:
    """Only the columns `names` of Parquet files, whatever else they hold, in order, in batches.

    Raises:
        DataError: a file is damaged, or lacks a column.
    """
    for file in files:
        source = parquet_file(filesystem, file)
        if absent := [name for name in names if name not in source.schema_arrow.names]:
            raise DataError(f"{file}: no column {absent[0]!r}, which other files there have")
        for piece in pieces_of(source, None, ID_BATCH_ROWS, names, file):
            yield pa.Table.from_batches([piece])


def pieces_of(
    source: pq.ParquetFile, groups: Sequence[int] | None, rows: int, wanted: list[str], path: str
) -> Iterator[pa.RecordBatch]:
    """The columns that are `wanted`, of some row groups or all, at most `rows` rows at a time.

    Raises:
        DataError: the file is damaged or gone.
    """
    with reading_parquet(path):
        for piece in source.iter_batches(rows, row_groups=groups, columns=wanted, use_threads=False):
            for name, column in zip(piece.schema.names, piece.columns, strict=True):
                _require_sound(column, f"{path}: column {name}")
            yield plain_batch(piece)


@contextmanager
def reading_parquet(where: str) -> Iterator[None]:
    """
    Raises:
        DataError: reading fails, since the file is damaged or gone.
        JobError: the storage cannot be reached.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes its reader raise
        _raise_if_lost(error, where)
        raise DataError(f"{where}: damaged: {first_line(error)}") from None


def _raise_if_lost(error: Exception, where: str) -> None:
    """A network that fails must not be taken for a damaged file, which would end a search."""
    if is_lost(error):
        raise JobError(f"{where}: cannot be reached: {first_line(error)}") from None


def _require_sound(column: pa.Array, where: str) -> None:
    """Arrow takes text as it finds it, and the next to use what is no UTF-8 would fail without a place."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(f"{where}: damaged: {first_line(error)}") from None


def provenance_of(schema: pa.Schema) -> dict[str, Any]:
    """Provenance of the features of a Parquet file; empty if not recorded."""
    try:
        content = json.loads((schema.metadata or {}).get(PROVENANCE_KEY, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
