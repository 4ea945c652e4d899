"""Files of named arrays (NPZ, HDF5, H5AD): finds the matrix, the ids, and the other columns."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from resvae_ray.data.features import batch_rows
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS, Texts, in_order_of_number, settle_ids
from resvae_ray.data.importers.levels import naming_of
from resvae_ray.data.layout import (
    FEATURES_COLUMNS,
    ID_COLUMNS,
    LABEL_COLUMNS,
    ColumnChoice,
    find_column,
    pick_label,
    require_free_names,
    some_names,
)
from resvae_ray.data.same_protein import are_accessions
from resvae_ray.data.schema import FeatureBatch, as_text, check_batch, numbers_from
from resvae_ray.data.vector_columns import PER_RESIDUE
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import ID, LABEL

NUMPY_DEFAULT = re.compile(r"^arr_(?=\d+$)")  # the names of arrays that were saved without one
NUMBERS = "fiu"  # kinds of NumPy types
VECTOR_MOST = 1 << 24  # numbers in one vector: no model yields more, but a damaged header can claim it


class Array(Protocol):
    """The shape and type of an array, known before it is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its size along each axis."""
        ...

    @property
    def dtype(self) -> Any:
        """Its NumPy type."""
        ...


def is_matrix(array: Array) -> bool:
    """Whether it may hold the features of some rows."""
    rows = len(array.shape) == 2 or (len(array.shape) == 3 and array.shape[1] == 1)  # of vectors (D), or (1, D)
    return rows and array.dtype.kind in NUMBERS


def is_column(array: Array) -> bool:
    """Whether it holds one entry per row: (n), or (n, 1), as MATLAB and `frame[["id"]]` leave it."""
    return len(array.shape) == 1 or (len(array.shape) == 2 and array.shape[1] == 1)


def matrices_of(arrays: Mapping[str, Array]) -> list[str]:
    """The arrays that may hold the features. One of a single column is a label if there are others."""
    found = [name for name, array in arrays.items() if is_matrix(array)]
    return [name for name in found if arrays[name].shape[-1] != 1] or found


def are_named_vectors(arrays: Mapping[str, Array]) -> bool:
    """Whether each array is named by a protein and has its vector, or one per residue, instead of those of all."""
    shapes = [tuple(array.shape) for array in arrays.values()]
    if (len(shapes) < 2 and not are_accessions(list(arrays))) or any(
        array.dtype.kind not in NUMBERS for array in arrays.values()
    ):
        return False
    if find_column(list(arrays), (*ID_COLUMNS, *LABEL_COLUMNS, *FEATURES_COLUMNS)) is not None:
        return False
    lengths = {len(shape) for shape in shapes}
    if lengths == {1} or (lengths == {2} and {shape[0] for shape in shapes} == {1}):
        return True
    # Residues: matrices of one width and of as many rows as a protein is long; a (1, D) among them is one of them.
    widths, rows = {s[-1] for s in shapes}, {s[0] for s in shapes if len(s) == 2}
    return lengths <= {1, 2} and len(widths) == 1 and (len(rows) > 1 or are_accessions(list(arrays)))


def one_vector(array: np.ndarray, where: str) -> np.ndarray:
    """The vector (D) of a protein, written as such or as (1, D).

    Raises:
        DataError: a vector per residue, or no numbers.
    """
    if array.dtype.kind not in NUMBERS or not array.ndim:
        raise DataError(f"{where}: an array of shape {array.shape} and type {array.dtype}; expected one vector")
    if sum(size != 1 for size in array.shape[:-1]):
        raise DataError(f"{where} has the shape {array.shape}, {PER_RESIDUE}")
    if not 0 < array.shape[-1] <= VECTOR_MOST:
        raise DataError(f"{where}: a vector of {array.shape[-1]} numbers")
    with np.errstate(over="ignore"):
        return array.reshape(-1).astype(np.float32, copy=False)


def named_vectors(
    names: Sequence[str],
    read: Callable[[str], np.ndarray],
    source: str,
    choice: ColumnChoice,
    original_id: Callable[[str], str | None] = lambda name: None,
) -> Iterator[FeatureBatch]:
    """The proteins of a container with one array each; levels.py says which part of a name is the id.

    Args:
        names: of the arrays, with slashes between their levels.
        read: an array by its name.
        original_id: the id in what was read last under a name, if it has one.

    Raises:
        DataError: a vector per residue, or vectors of two widths.
        UsageError: there are several vectors per protein, and none was chosen; or columns were.
    """
    refuse_columns(source, choice)
    paths = [tuple(NUMPY_DEFAULT.sub("", name).split("/")) for name in names]
    naming = naming_of(paths, choice.features_column, source)
    by_id = {key: name for path, name in zip(paths, names, strict=True) if (key := naming.id_of(path)) is not None}
    numbered = in_order_of_number(list(by_id))
    ids: list[str] = []
    vectors: list[np.ndarray] = []
    start, found = 0, {IDS_KEY: ROW_NUMBERS} if numbered else {}
    for key in numbered or list(by_id):
        vector = one_vector(read(by_id[key]), f"{source}: {by_id[key]!r}")
        if vectors and len(vector) != len(vectors[0]):
            raise DataError(
                f"{source}: {by_id[key]!r}: a vector of {len(vector)} numbers, but {len(vectors[0])} in those before; "
                "all vectors must have one width"
            )
        own = original_id(by_id[key])
        found = {} if own else found
        ids.append(own or key)
        vectors.append(vector)
        if len(ids) == batch_rows(len(vector)):
            yield _checked(ids, vectors, start, found, source)
            start += len(ids)
            ids, vectors = [], []
    if ids:
        yield _checked(ids, vectors, start, found, source)


def _checked(
    ids: list[str], vectors: list[np.ndarray], start: int, found: Mapping[str, str], source: str
) -> FeatureBatch:
    batch = as_batch(np.stack(vectors), start, {ID: pa.array(ids, pa.string())}, source, found)
    check_batch(batch, None, source, start + 1)
    return batch


def require_width(width: int, where: str) -> None:
    """
    Raises:
        DataError: the vector is longer than VECTOR_MOST; no memory is allocated for it.
    """
    if width > VECTOR_MOST:
        raise DataError(f"{where}: vectors of {width:,} numbers; at most {VECTOR_MOST:,} are read")


def matrix_name(arrays: Mapping[str, Array], source: str, choice: ColumnChoice) -> str:
    """The array that holds the features: the chosen one, the only matrix, or the one with a usual name.

    Raises:
        DataError: no matrix, or several and none has a usual name.
        UsageError: the chosen one is not there.
    """
    matrices = matrices_of(arrays)
    if choice.features_column is not None:
        if choice.features_column not in matrices:
            raise UsageError(
                f"{source}: --features-column {choice.features_column}: no such matrix; there are "
                f"{some_names(matrices)}"
            )
        return choice.features_column
    if not matrices:
        shapes = some_names([f"{name} {tuple(array.shape)}" for name, array in arrays.items()])
        padded = f"; three dimensions are {PER_RESIDUE}" if any(len(a.shape) == 3 for a in arrays.values()) else ""
        raise DataError(f"{source}: no two-dimensional array of numbers; the arrays are {shapes}{padded}")
    name = matrices[0] if len(matrices) == 1 else find_column(matrices, FEATURES_COLUMNS)
    if name is None:
        raise DataError(f"{source}: several matrices ({some_names(matrices)}); choose with --features-column")
    return name


def column_names(
    arrays: Mapping[str, Array], rows: int, texts: Texts, source: str, choice: ColumnChoice
) -> tuple[dict[str, str], dict[str, str]]:
    """The arrays with one entry per row: the name that FEATURES has for each, and its own; and what to say of the ids.

    Args:
        arrays: all but the features.
        texts: the entries of an array as texts, in pieces.

    Raises:
        DataError: ids or labels for another number of rows, an array in the place of one of them, or ids that cannot be
            made out.
        UsageError: an array that the user named is not there.
    """
    flat = [name for name, array in arrays.items() if is_column(array)]
    for flag, wanted in (("--id-column", choice.id_column), ("--label-column", choice.label_column)):
        if wanted is not None and wanted not in flat:
            raise UsageError(f"{source}: {flag} {wanted}: no such one-dimensional array; there are {some_names(flat)}")
    usual = choice.id_column or (find_column(flat, ID_COLUMNS) if choice.ids is None else None)
    label = pick_label(flat, usual, choice.label_column, source)
    for name in filter(None, (usual, label)):
        if (length := arrays[name].shape[0]) != rows:
            raise DataError(f"{source}: array {name!r} has {length} entries for {rows} rows of features")
    others = [name for name in flat if arrays[name].shape[0] == rows and name != choice.label_column]
    settled, left_out, numbered = settle_ids(flat, others, texts, choice, source)
    ids = None if settled.ids is not None else settled.id_column
    others = [name for name in others if name not in (ids, label, *left_out)]
    require_free_names(others, source, "array")
    chosen = {target: name for target, name in ((ID, ids), (LABEL, label)) if name is not None}
    return chosen | {name: name for name in others}, {IDS_KEY: ROW_NUMBERS} if numbered else {}


def refuse_columns(source: str, choice: ColumnChoice) -> None:
    """For files that hold nothing but one vector a protein.

    Raises:
        UsageError: the user named a column.
    """
    for flag, name in (
        ("--id-column", choice.id_column),
        ("--label-column", choice.label_column),
        ("--ids", choice.ids),
    ):
        if name is not None:
            raise UsageError(f"{source}: {flag} {name}: this file holds one vector per protein and has no columns")


def as_batch(
    matrix: np.ndarray,
    start: int,
    columns: Mapping[str, pa.Array],
    source: str,
    found: Mapping[str, str] | None = None,
) -> FeatureBatch:
    """Some rows of FEATURES.

    Args:
        matrix: (n, D) numbers of any type.
        start: how many rows of the source come before them; without ids, rows are named by their number, from 0.
        columns: those with n entries, under the names that FEATURES has for them.
        found: see `FeatureBatch`.
    """
    others = {name: pa.chunked_array([column]) for name, column in columns.items()}
    ids, label = others.pop(ID, None), others.pop(LABEL, None)
    numbers = numbers_from(start, len(matrix))
    table = pa.table(others) if others else pa.table({ID: numbers}).select([])
    if label is not None:
        table = table.add_column(0, LABEL, as_text(label, f"{source}: the label"))
    with np.errstate(over="ignore"):
        features = matrix.astype(np.float32, copy=False)
    if ids is None:
        return FeatureBatch(numbers, features, table, {**(found or {}), IDS_KEY: ROW_NUMBERS})
    return FeatureBatch(as_text(ids, f"{source}: the ids"), features, table, found or {})
