"""NumPy: .npy with one matrix, .npz with a matrix, its ids and any other arrays of as many entries.

The matrix is read in pieces, from the compressed archive too. Pickled arrays are refused: loading one runs code.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa

from resvae_ray.data.features import BATCH_BYTES, rows_in
from resvae_ray.data.schema import (
    FEATURES_COLUMNS,
    ID_COLUMNS,
    LABEL_COLUMNS,
    ColumnChoice,
    FeatureBatch,
    as_text,
    check_batch,
    find_column,
)
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import ID, LABEL
from resvae_ray.storage import locate


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The rows of the matrix, in order. Without an array of ids, rows are named by their number, from 0.

    Raises:
        DataError: not an array file, a pickled array, no or several matrices, arrays of unequal length, NaN.
        UsageError: an array that the user named is not there.
    """
    filesystem, place = locate(source)
    try:
        with filesystem.open_input_file(place) as file:
            if source.lower().endswith(".npy"):
                yield from _read_matrix(file, source, {})
            else:
                yield from _read_archive(file, source, choice)
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        if isinstance(error, (DataError, UsageError)):
            raise
        raise DataError(f"{source}: not a readable NumPy file: {str(error).splitlines()[0]}") from None


def _read_archive(file: pa.NativeFile, source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    with zipfile.ZipFile(file) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        headers = {}
        for name, member in members.items():
            with archive.open(member) as stream:
                headers[name] = _header(stream, f"{source}: array {name!r}")
        matrix = _matrix_name(headers, source, choice)
        columns = _column_arrays(archive, members, headers, headers[matrix].shape[0], source, choice)
        with archive.open(members[matrix]) as stream:
            yield from _read_matrix(stream, source, columns)


def _matrix_name(headers: dict[str, _Header], source: str, choice: ColumnChoice) -> str:
    matrices = [name for name, header in headers.items() if len(header.shape) == 2 and header.dtype.kind in "fiu"]
    if choice.features_column is not None:
        if choice.features_column not in matrices:
            raise UsageError(
                f"{source}: --features-column {choice.features_column}: no such matrix; there are {matrices}"
            )
        return choice.features_column
    if not matrices:
        shapes = {name: header.shape for name, header in headers.items()}
        raise DataError(f"{source}: no two-dimensional array of numbers; the arrays are {shapes}")
    name = matrices[0] if len(matrices) == 1 else find_column(matrices, FEATURES_COLUMNS)
    if name is None:
        raise DataError(f"{source}: several matrices ({', '.join(matrices)}); choose with --features-column")
    return name


def _column_arrays(
    archive: zipfile.ZipFile,
    members: dict[str, str],
    headers: dict[str, _Header],
    rows: int,
    source: str,
    choice: ColumnChoice,
) -> dict[str, pa.Array]:
    """The arrays with one entry a row, under the names that FEATURES has for them."""
    flat = [name for name, header in headers.items() if len(header.shape) == 1]
    names = {}
    for target, wanted, known, flag in (
        (ID, choice.id_column, ID_COLUMNS, "--id-column"),
        (LABEL, choice.label_column, LABEL_COLUMNS, "--label-column"),
    ):
        if wanted is not None and wanted not in flat:
            raise UsageError(f"{source}: {flag} {wanted}: no such one-dimensional array; there are {flat}")
        if (name := wanted or find_column(flat, known)) is not None:
            names[name] = target
    columns = {}
    for name in flat:
        target = names.get(name, name)
        if headers[name].shape[0] == rows and (target == name or target not in flat):
            with archive.open(members[name]) as stream:
                values = np.lib.format.read_array(stream, allow_pickle=False)
            columns[target] = _column(values, f"{source}: array {name!r}")
        elif name in names:
            length = headers[name].shape[0]
            raise DataError(f"{source}: array {name!r} has {length} entries for {rows} rows of features")
    return columns


def _column(values: np.ndarray, where: str) -> pa.Array:
    try:
        return pa.array(values.tolist() if values.dtype.kind in "US" else values.astype(values.dtype.newbyteorder("=")))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        raise DataError(f"{where} holds {values.dtype}; expected text, numbers or dates") from None


def _read_matrix(stream: IO[bytes], source: str, columns: dict[str, pa.Array]) -> Iterator[FeatureBatch]:
    header = _header(stream, source)
    if len(header.shape) != 2 or header.dtype.kind not in "fiu":
        raise DataError(f"{source}: an array of shape {header.shape} and type {header.dtype}; expected rows of numbers")
    pieces = _pieces_by_column if header.fortran else _pieces_by_row
    start = 0
    for piece in pieces(stream, header, source):
        with np.errstate(over="ignore"):
            batch = _batch(piece.astype(np.float32), start, columns, source)
        check_batch(batch, None, source, start + 1)
        start += len(batch)
        yield batch


def _pieces_by_row(stream: IO[bytes], header: _Header, source: str) -> Iterator[np.ndarray]:
    rows, width = header.shape
    step = rows_in(BATCH_BYTES, max(1, width))
    for start in range(0, rows, step):
        yield _numbers(stream, min(step, rows - start) * width, header, source).reshape(-1, width)


def _pieces_by_column(stream: IO[bytes], header: _Header, source: str) -> Iterator[np.ndarray]:
    """A matrix stored column by column, as pandas leaves it, has its first row at its end: it is held whole."""
    rows, width = header.shape
    matrix = _numbers(stream, rows * width, header, source).reshape(width, rows).T
    step = rows_in(BATCH_BYTES, max(1, width))
    for start in range(0, rows, step):
        yield matrix[start : start + step]


def _numbers(stream: IO[bytes], count: int, header: _Header, source: str) -> np.ndarray:
    size = count * header.dtype.itemsize
    data = stream.read(size)
    if len(data) < size:
        raise DataError(f"{source}: the file ends too early for a matrix of {header.shape[0]} x {header.shape[1]}")
    return np.frombuffer(data, header.dtype)


def _batch(matrix: np.ndarray, start: int, columns: dict[str, pa.Array], source: str) -> FeatureBatch:
    count = len(matrix)
    sliced = {name: pa.chunked_array([column.slice(start, count)]) for name, column in columns.items()}
    ids, label = sliced.pop(ID, None), sliced.pop(LABEL, None)
    numbers = pa.array([str(start + row) for row in range(count)])
    others = pa.table(sliced) if sliced else pa.table({ID: numbers}).select([])
    if label is not None:
        others = others.add_column(0, LABEL, as_text(label, f"{source}: the label"))
    return FeatureBatch(numbers if ids is None else as_text(ids, f"{source}: the ids"), matrix, others, ids is None)


def _header(stream: IO[bytes], where: str) -> _Header:
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
    except ValueError as error:
        raise DataError(f"{where}: not a NumPy array: {error}") from None
    if dtype.hasobject:
        raise DataError(f"{where}: a pickled array, which is not loaded as it could run code; save ids as strings")
    return _Header(shape, dtype, fortran)
