"""HDF5: one data set per protein, as UniProt, bio_embeddings and biotrainer write it, or a matrix with an array of ids.

With one data set per protein, the id is the attribute `original_id`, if present, else the name of the data set or its
group (see levels.py). The order is that of writing if the file keeps it (`track_order`), else that of the names.

A file leads nowhere else: links and data sets that keep their numbers in other files are refused. So are data sets that
were made and never filled, which HDF5 reads as zeros.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from resvae_ray.data.arrow_types import as_column
from resvae_ray.data.features import batch_rows
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS, in_order_of_number, is_numbering
from resvae_ray.data.importers.arrays import (
    NUMBERS,
    VECTOR_MOST,
    as_batch,
    column_names,
    is_column,
    is_matrix,
    matrices_of,
    refuse_columns,
    require_width,
)
from resvae_ray.data.importers.levels import Naming, naming_of
from resvae_ray.data.layout import FEATURES_COLUMNS, ID_COLUMNS, ColumnChoice, find_column, some_names
from resvae_ray.data.schema import FeatureBatch, as_text, check_batch
from resvae_ray.errors import DataError, ResVAERayError, UsageError, first_line
from resvae_ray.extras import module_to_read
from resvae_ray.files.place import locate
from resvae_ray.names import ID

ORIGINAL_ID = "original_id"
MATRIX_FILE_MOST = 64  # data sets in a file that is looked through for a matrix
CHUNK_BYTES_MOST = 1 << 30  # unpacked: HDF5 holds a chunk whole
PACKING = {"scale_factor", "add_offset"}  # attributes by which netCDF unpacks numbers
TEXTS_AT_ONCE = 65536  # of an array that is looked through
POOLING = (
    "take UniProt's per-protein.h5, reduce: true in bio_embeddings, reduced embeddings in biotrainer, or average the "
    "residues yourself"
)


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The proteins of the file, in its order; `--features-column` names a matrix, a group, or a level such as a layer.

    Raises:
        DataError: not HDF5, per-residue data sets, vectors of two widths, links, data sets that were never filled, NaN.
        UsageError: h5py is not installed; a data set that the user named is not there.
    """
    with open_hdf5(source) as file:
        group, place = _matrix_place(file, source, choice)
        yield from _read_proteins(group, source, choice) if place is None else _read_matrix(file, place, source, choice)


@contextmanager
def open_hdf5(source: str) -> Iterator[Any]:
    """The file as an h5py.File; any HDF5 error while it is open becomes a DataError."""
    h5py = module_to_read(source, "h5py")
    filesystem, place = locate(source)
    try:
        with filesystem.open_input_file(place) as raw, h5py.File(raw, "r") as file:
            yield file
    except ResVAERayError:
        raise
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except Exception as error:  # whatever a damaged file makes its readers raise
        if "plugin" in str(error):  # HDF5 looks for it in a folder of plugins
            raise DataError(
                f"{source}: its numbers are packed by a filter that h5py lacks, such as Blosc of PyTables; write them "
                "with gzip"
            ) from None
        raise DataError(f"{source}: not a readable HDF5 file: {first_line(error)}") from None


def children(group: Any, source: str) -> Iterator[tuple[str, Any]]:
    """The groups and data sets in a group.

    Raises:
        DataError: a link, a table of pandas or MATLAB, packed numbers, or what is neither group nor data set.
    """
    h5py = module_to_read(source, "h5py")
    for name in (not _keeps_order(group) and _numbers(group)) or group:
        if not isinstance(link := group.get(name, getlink=True), h5py.HardLink):
            raise DataError(
                f"{source}: {name!r} is a link to {link.path}, which is not followed; write the data itself"
            )
        item = group[name]
        if "pandas_type" in item.attrs:
            raise DataError(
                f"{source}: {name!r} is a table of pandas.to_hdf, which is not read; write it with to_parquet"
            )
        if "MATLAB_class" in item.attrs:
            raise DataError(
                f"{source}: {name!r} was written by MATLAB, which turns rows into columns; write CSV with writetable"
            )
        if packed := PACKING & item.attrs.keys():
            raise DataError(
                f"{source}: {name!r} has packed numbers, which its attributes {some_names(sorted(packed))} "
                "unpack; write the numbers themselves"
            )
        if not isinstance(item, h5py.Group | h5py.Dataset):
            raise DataError(f"{source}: {name!r} is neither a data set nor a group of them; the file may be damaged")
        yield name, item


def data_sets(group: Any, source: str, above: tuple[Any, ...] = ()) -> Iterator[Any]:
    """All data sets below a group, group by group.

    Raises:
        DataError: a link, or a group that contains itself.
    """
    for name, item in children(group, source):
        if hasattr(item, "shape"):
            yield item
        elif item in (*above, group):
            raise DataError(f"{source}: group {name!r} contains itself")
        else:
            yield from data_sets(item, source, (*above, group))


def require_filled(data_set: Any, where: str) -> None:
    """
    Raises:
        DataError: some of its numbers are in another file, or were never written, or no part fits in memory.
    """
    if data_set.is_virtual or data_set.external:
        raise DataError(f"{where} keeps its numbers in other files, which are not opened; write the numbers themselves")
    if data_set.chunks:
        if math.prod(data_set.chunks) * data_set.dtype.itemsize > CHUNK_BYTES_MOST:
            raise DataError(f"{where} has chunks of {' x '.join(map(str, data_set.chunks))}; write it in smaller ones")
        chunks = math.prod(-(-size // chunk) for size, chunk in zip(data_set.shape, data_set.chunks, strict=True))
        filled = data_set.id.get_num_chunks() >= chunks
    else:
        filled = not data_set.size or data_set.id.get_storage_size() > 0
    if not filled:
        raise DataError(f"{where} has parts that were never written and would read as zeros; write the file anew")


def row_pieces(data_set: Any, where: str) -> Iterator[np.ndarray]:
    """The rows (n, D) of a matrix, a few at a time; a compressed chunk is unpacked whole, and once if that fits."""
    require_filled(data_set, where)
    width = data_set.shape[-1]
    require_width(width, where)
    step, tall = batch_rows(width), data_set.chunks[0] if data_set.chunks else 1
    fits = tall * width * data_set.dtype.itemsize <= CHUNK_BYTES_MOST
    rows_read = max(tall, step - step % tall) if fits else step
    for start in range(0, data_set.shape[0], rows_read):
        block = data_set[start : start + rows_read]
        block = block.reshape(len(block), width)
        for inner in range(0, len(block), step):
            yield block[inner : inner + step]


def column_piece(data_set: Any, start: int, stop: int, where: str) -> pa.Array:
    """Some entries of a one-dimensional data set.

    Raises:
        DataError: they are neither text nor numbers.
    """
    if module_to_read(where, "h5py").check_string_dtype(data_set.dtype) is None:
        return as_column(data_set[start:stop], where)
    try:
        return pa.array(data_set.asstr("utf-8")[start:stop].reshape(-1).tolist(), pa.string())
    except UnicodeDecodeError:
        raise DataError(f"{where} holds bytes that are not UTF-8 text") from None


def texts_of(data_set: Any, where: str) -> Iterator[pa.Array]:
    """The entries of a one-dimensional data set as texts, in pieces."""
    require_filled(data_set, where)
    for start in range(0, data_set.shape[0], TEXTS_AT_ONCE):
        stop = min(start + TEXTS_AT_ONCE, data_set.shape[0])
        yield as_text(pa.chunked_array([column_piece(data_set, start, stop, where)]), where)


def _matrix_place(file: Any, source: str, choice: ColumnChoice) -> tuple[Any, str | None]:
    """The group that is read, and where the matrix in it is, if it has one.

    That is the chosen one, one with a usual name, or the only one beside arrays as long.
    """
    group = file
    if choice.features_column is not None and choice.features_column in file:
        group = file[choice.features_column]
        if hasattr(group, "shape"):
            if not is_matrix(group):
                raise UsageError(
                    f"{source}: --features-column {choice.features_column}: {_kind(group)}; expected rows of numbers"
                )
            return group.parent, group.name
    elif choice.features_column is not None:
        return file, None
    first = list(islice(data_sets(group, source), MATRIX_FILE_MOST))
    by_name = {data_set.name: data_set for data_set in first}
    matrices = [by_name[name] for name in matrices_of(by_name)]
    with_ids = [matrix for matrix in matrices if _has_ids(matrix)]
    if len(first) == MATRIX_FILE_MOST:
        if len(with_ids) > 1:
            raise _several(with_ids, source)
        return group, None
    by_leaf = {data_set.name.rpartition("/")[2]: data_set for data_set in matrices}
    if (leaf := find_column(list(by_leaf), FEATURES_COLUMNS)) is not None:
        same = [data_set for data_set in matrices if data_set.name.endswith(f"/{leaf}")]
        if len({data_set.shape[0] for data_set in same}) > 1 and not with_ids:
            return group, None  # as many rows as a protein has residues
        if len(same) > 1:
            raise _several(same, source)
        return group, same[0].name
    as_long = [
        data_set
        for data_set in first
        if len(matrices) == 1 and is_column(data_set) and data_set.shape[0] == matrices[0].shape[0]
    ]
    as_long = [data_set for data_set in as_long if data_set.name != matrices[0].name]
    return group, matrices[0].name if as_long else None


def _has_ids(matrix: Any) -> bool:
    """Whether an array with a usual name of ids lies beside it, as long as it is."""
    name = find_column(list(matrix.parent), ID_COLUMNS)
    ids: Any = None if name is None else matrix.parent.get(name)
    return hasattr(ids, "shape") and is_column(ids) and ids.shape[0] == matrix.shape[0]


def _several(matrices: list[Any], source: str) -> DataError:
    names = some_names([matrix.name for matrix in matrices])
    return DataError(f"{source}: several matrices ({names}); choose with --features-column")


def _read_matrix(file: Any, place: str, source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    folder, _, leaf = place.rpartition("/")
    arrays = {name: item for name, item in children(file[folder or "/"], source) if hasattr(item, "shape")}
    matrix = arrays.pop(leaf)

    def texts(name: str) -> Iterator[pa.Array]:
        return texts_of(arrays[name], f"{source}: array {name!r}")

    columns, of_ids = column_names(arrays, matrix.shape[0], texts, source, choice)
    for name in columns.values():
        require_filled(arrays[name], f"{source}: array {name!r}")
    start = 0
    for piece in row_pieces(matrix, f"{source}: array {leaf!r}"):
        stop = start + len(piece)
        cut = {to: column_piece(arrays[name], start, stop, f"{source}: array {name!r}") for to, name in columns.items()}
        batch = as_batch(piece, start, cut, source, {"matrix": place.lstrip("/"), **of_ids})
        check_batch(batch, None, source, start + 1)
        start = stop
        yield batch


def _read_proteins(group: Any, source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    refuse_columns(source, choice)
    wanted = None if group.name != "/" else choice.features_column
    paths = _paths(group)
    naming = naming_of(paths, wanted, source) if paths else Naming((), None)
    found = {"order": "as written" if _keeps_order(group) else "by name"}
    if not _keeps_order(group) and _numbers(group) is not None:
        found = {"order": "by number"}
    start = 0
    for ids, matrix, keys in _stacks(group, naming, source):
        if not start and keys and ids == keys and _are_numbered(naming, paths):
            found[IDS_KEY] = ROW_NUMBERS
        batch = as_batch(matrix, start, {ID: pa.array(ids, pa.string())}, source, found)
        check_batch(batch, None, source, start + 1)
        start += len(ids)
        yield batch


def _paths(group: Any) -> list[tuple[str, ...]]:
    """The paths of all data sets below a group."""
    h5o = module_to_read(str(group.name), "h5py").h5o

    def is_group(name: bytes, info: Any) -> bool | None:
        return True if info.type == h5o.TYPE_GROUP and name != b"." else None

    paths: list[tuple[str, ...]] = []

    def add(name: bytes, info: Any) -> None:
        if info.type == h5o.TYPE_DATASET:
            paths.append(tuple(name.decode(errors="surrogateescape").split("/")))

    here = h5o.open(group.file.id, group.name.encode())
    if not h5o.visit(here, is_group, info=True):
        return [(name,) for name in group]
    h5o.visit(here, add, info=True)
    return paths


def _are_numbered(naming: Naming, paths: list[tuple[str, ...]]) -> bool:
    ids = filter(None, map(naming.id_of, paths))
    return is_numbering([pa.array(list(ids), pa.string())])


def _stacks(group: Any, naming: Naming, source: str) -> Iterator[tuple[list[str], np.ndarray, list[str]]]:
    """The proteins' ids, vectors and keys, some at a time."""
    ids: list[str] = []
    keys: list[str] = []
    vectors: list[np.ndarray] = []
    root = "" if group.name == "/" else group.name
    for data_set in data_sets(group, source):
        name = data_set.name.removeprefix(f"{root}/")
        if (key := naming.id_of(tuple(name.split("/")))) is None:
            continue
        vector = _vector(data_set, f"{source}: data set {name!r}")
        if vectors and len(vector) != len(vectors[0]):
            raise DataError(
                f"{source}: data set {name!r}: a vector of {len(vector)} numbers, but {len(vectors[0])} in those "
                "before; all vectors must have one width"
            )
        ids.append(_original_id(data_set, key, source))
        keys.append(key)
        vectors.append(vector)
        if len(ids) == batch_rows(len(vector)):
            yield ids, np.stack(vectors), keys
            ids, vectors, keys = [], [], []
    if ids:
        yield ids, np.stack(vectors), keys


def _vector(data_set: Any, where: str) -> np.ndarray:
    shape = data_set.shape
    if data_set.dtype.kind not in NUMBERS or not shape:
        raise DataError(f"{where}: {_kind(data_set)}; expected one vector of numbers a protein")
    if len(shape) > 1 and shape != (1, shape[1]):
        raise DataError(
            f"{where} has the shape {shape}, one vector per residue; FEATURES need one per protein: {POOLING}. A "
            "matrix with one row per protein, or the name of a vector beside it, is chosen with --features-column"
        )
    if not 0 < shape[-1] <= VECTOR_MOST:
        raise DataError(f"{where}: a vector of {shape[-1]} numbers")
    require_filled(data_set, where)
    return data_set[()].reshape(-1)


def _original_id(data_set: Any, name: str, source: str) -> str:
    value = data_set.attrs.get(ORIGINAL_ID, name)
    if not isinstance(value, str | bytes | int | np.integer):
        raise DataError(f"{source}: data set {name!r}: {ORIGINAL_ID} is {value!r}; expected one text or whole number")
    return value.decode() if isinstance(value, bytes) else str(value)


def _numbers(group: Any) -> list[str] | None:
    """The names in a group by their number, if they are 0 … n-1."""
    first = next(iter(group), "")
    return in_order_of_number(list(group)) if first.isdecimal() else None


def _keeps_order(group: Any) -> bool:
    h5py = module_to_read(str(group.name), "h5py")
    by_path = h5py.h5g.open(group.file.id, group.name.encode())  # the file's own id does not say
    return bool(by_path.get_create_plist().get_link_creation_order() & h5py.h5p.CRT_ORDER_TRACKED)


def _kind(data_set: Any) -> str:
    return f"an array of shape {data_set.shape} and type {data_set.dtype}"
