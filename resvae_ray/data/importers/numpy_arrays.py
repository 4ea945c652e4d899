"""NumPy: .npy with one matrix, or a folder of .npy with one vector each; .npz with a matrix, its ids and other arrays.

The matrix is read in pieces, from the compressed archive too. Pickled arrays are refused: loading one runs code.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from tokenize import TokenError
from typing import IO

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from resvae_ray.data.arrow_types import as_column
from resvae_ray.data.features import batch_rows
from resvae_ray.data.file_kind import NPY, kind_by_content, refuse_pointer_at
from resvae_ray.data.importers.arrays import (
    are_named_vectors,
    as_batch,
    column_names,
    is_matrix,
    matrix_name,
    named_vectors,
    require_width,
)
from resvae_ray.data.layout import FEATURES_COLUMNS, ID_COLUMNS, LABEL_COLUMNS, ColumnChoice, find_column
from resvae_ray.data.schema import FeatureBatch, as_text, check_batch
from resvae_ray.data.vector_columns import PER_RESIDUE
from resvae_ray.errors import DataError, ResVAERayError, first_line
from resvae_ray.files.place import locate, reaching

ENTRY = b"PK\x01\x02"  # with which each entry of an archive's table of contents begins


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
    with reaching(source):
        is_folder = filesystem.get_file_info(place).type == pafs.FileType.Directory
    if is_folder:
        yield from _read_folder(filesystem, place, source, choice)
        return
    try:
        with filesystem.open_input_file(place) as file:
            if kind_by_content(source) == NPY or source.lower().endswith(".npy"):
                yield from _read_matrix(file, file.size(), source, {}, {})
            else:
                yield from _read_archive(file, source, choice)
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except ResVAERayError:
        raise
    except Exception as error:  # whatever a damaged file makes its readers raise
        raise DataError(f"{source}: not a readable NumPy file: {first_line(error)}") from None


def _read_folder(filesystem: pafs.FileSystem, folder: str, source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The proteins of a folder with one vector in each file; the names of the files, and of folders, are the ids."""
    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True))
    paths = sorted(info.path for info in infos if info.is_file and info.path.endswith(NPY))
    places = {path.removeprefix(folder.rstrip("/")).strip("/").removesuffix(NPY): path for path in paths}
    if (name := find_column(list(places), (*FEATURES_COLUMNS, *ID_COLUMNS, *LABEL_COLUMNS))) is not None:
        raise DataError(
            f"{source}: {name}{NPY} is not called like a protein; of a matrix and arrays beside it import the matrix, "
            "with --ids or --labels"
        )

    def vector(name: str) -> np.ndarray:
        try:
            with filesystem.open_input_file(places[name]) as file:
                header = _header(file, file.size(), places[name])
                file.seek(0)
                values = np.lib.format.read_array(file, allow_pickle=False)
                _require_end(file, header, places[name])
        except (OSError, ValueError, DataError) as error:
            refuse_pointer_at(filesystem, places[name])
            if isinstance(error, DataError):
                raise
            raise DataError(f"{places[name]}: not a readable NumPy file: {first_line(error)}") from None
        return values

    yield from named_vectors(list(places), vector, source, choice)


def _read_archive(file: pa.NativeFile, source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    with zipfile.ZipFile(file) as archive:
        # A damaged length makes one entry swallow the next: an array would be lost without an error.
        if any(ENTRY in info.extra + info.comment for info in archive.infolist()):
            raise DataError(f"{source}: not a readable NumPy file: its table of contents is damaged")
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        headers = {}
        for name, member in members.items():
            with archive.open(member) as stream:
                size = archive.getinfo(member).file_size
                headers[name] = _header(stream, size, f"{source}: array {name!r}")
        if are_named_vectors(headers) and choice.features_column not in headers:

            def read_whole(name: str) -> np.ndarray:
                return _whole_array(archive, members[name], headers[name], f"{source}: array {name!r}")

            yield from named_vectors(list(headers), read_whole, source, choice)
            return
        if {"format", "shape", "data"} <= headers.keys():
            raise DataError(
                f"{source}: a sparse matrix of SciPy, which is not read; save matrix.toarray() with numpy.save"
            )
        matrix = matrix_name(headers, source, choice)

        def texts(name: str) -> list[pa.Array]:
            column = _column_arrays(archive, members, headers, {name: name}, source)[name]
            return [as_text(pa.chunked_array([column]), f"{source}: array {name!r}")]

        beside = {name: header for name, header in headers.items() if name != matrix}
        names, found = column_names(beside, headers[matrix].shape[0], texts, source, choice)
        columns = _column_arrays(archive, members, headers, names, source)
        with archive.open(members[matrix]) as stream:
            yield from _read_matrix(stream, archive.getinfo(members[matrix]).file_size, source, columns, found)


def _column_arrays(
    archive: zipfile.ZipFile,
    members: dict[str, str],
    headers: Mapping[str, _Header],
    columns: dict[str, str],
    source: str,
) -> dict[str, pa.Array]:
    """The arrays with one entry a row, whole, under the names that FEATURES has for them."""
    read = {}
    for target, name in columns.items():
        where = f"{source}: array {name!r}"
        read[target] = as_column(_whole_array(archive, members[name], headers[name], where), where)
    return read


def _whole_array(archive: zipfile.ZipFile, member: str, header: _Header, where: str) -> np.ndarray:
    with archive.open(member) as stream:
        values = np.lib.format.read_array(stream, allow_pickle=False)
        _require_end(stream, header, where)
    return values


def _read_matrix(
    stream: IO[bytes], size: int, source: str, columns: dict[str, pa.Array], found: Mapping[str, str]
) -> Iterator[FeatureBatch]:
    header = _header(stream, size, source)
    if not is_matrix(header):
        padded = f", {PER_RESIDUE}" if len(header.shape) == 3 else ""
        raise DataError(
            f"{source}: an array of shape {header.shape} and type {header.dtype}{padded}; expected rows of numbers"
        )
    header = _Header((header.shape[0], header.shape[-1]), header.dtype, header.fortran)
    require_width(header.shape[1], source)
    pieces = _pieces_by_column if header.fortran else _pieces_by_row
    start = 0
    for piece in pieces(stream, header, source):
        sliced = {name: column.slice(start, len(piece)) for name, column in columns.items()}
        batch = as_batch(piece, start, sliced, source, found)
        check_batch(batch, None, source, start + 1)
        start += len(batch)
        yield batch
    _require_end(stream, header, source)


def _pieces_by_row(stream: IO[bytes], header: _Header, source: str) -> Iterator[np.ndarray]:
    rows, width = header.shape
    step = batch_rows(width)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        yield _numbers(stream, count * width, header, source).reshape(count, width)


def _pieces_by_column(stream: IO[bytes], header: _Header, source: str) -> Iterator[np.ndarray]:
    """A matrix stored column by column, as pandas leaves it, has its first row at its end: it is held whole."""
    rows, width = header.shape
    matrix = _numbers(stream, rows * width, header, source).reshape(width, rows).T
    step = batch_rows(width)
    for start in range(0, rows, step):
        yield matrix[start : start + step]


def _require_end(stream: IO[bytes], header: _Header, where: str) -> None:
    """Also makes an archive compare the checksum, which it does when all has been read.

    Raises:
        DataError: there is more than the header says.
    """
    if stream.read(1):
        raise DataError(f"{where}: the file continues after an array of {' x '.join(map(str, header.shape))}")


def _numbers(stream: IO[bytes], count: int, header: _Header, source: str) -> np.ndarray:
    size = count * header.dtype.itemsize
    data = stream.read(size)
    if len(data) < size:
        raise DataError(f"{source}: the file ends too early for a matrix of {header.shape[0]} x {header.shape[1]}")
    return np.frombuffer(data, header.dtype)


def _header(stream: IO[bytes], size: int, where: str) -> _Header:
    """
    Args:
        size: of the whole array with its header, in bytes: a few of them can claim to be any number of numbers.
    """
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
    except (ValueError, TokenError) as error:
        raise DataError(f"{where}: not a NumPy array: {first_line(error)}") from None
    if dtype.hasobject:
        raise DataError(f"{where}: a pickled array, which is not loaded as it could run code; save ids as strings")
    if math.prod(shape) * dtype.itemsize > size:
        raise DataError(f"{where}: the file ends too early for an array of {' x '.join(map(str, shape))}")
    return _Header(shape, dtype, fortran)
