"""Files of named arrays (NPZ, HDF5, H5AD): which is the matrix, which the ids, and what becomes of the others."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS, Texts, settle_ids
from resvae_ray.data.layout import (
    FEATURES_COLUMNS,
    ID_COLUMNS,
    ColumnChoice,
    find_column,
    pick_label,
    require_free_names,
    some_names,
)
from resvae_ray.data.schema import FeatureBatch, as_text, numbers_from
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import ID, LABEL

NUMBERS = "fiu"  # kinds of NumPy types
VECTOR_MOST = 1 << 24  # numbers in one vector: more is no protein's, but a few bytes can claim it


class Array(Protocol):
    """What is known of an array before it is read."""

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
    return len(array.shape) == 2 and array.dtype.kind in NUMBERS


def require_width(width: int, where: str) -> None:
    """
    Raises:
        DataError: no vector of a protein has so many numbers; nobody should make room for one.
    """
    if width > VECTOR_MOST:
        raise DataError(f"{where}: vectors of {width:,} numbers; at most {VECTOR_MOST:,} are read")


def matrix_name(arrays: Mapping[str, Array], source: str, choice: ColumnChoice) -> str:
    """The array that holds the features: the chosen one, the only matrix, or the one with a usual name.

    Raises:
        DataError: no matrix, or several and none has a usual name.
        UsageError: the chosen one is not there.
    """
    matrices = [name for name, array in arrays.items() if is_matrix(array)]
    if choice.features_column is not None:
        if choice.features_column not in matrices:
            raise UsageError(
                f"{source}: --features-column {choice.features_column}: no such matrix; there are "
                f"{some_names(matrices)}"
            )
        return choice.features_column
    if not matrices:
        shapes = some_names([f"{name} {tuple(array.shape)}" for name, array in arrays.items()])
        raise DataError(f"{source}: no two-dimensional array of numbers; the arrays are {shapes}")
    name = matrices[0] if len(matrices) == 1 else find_column(matrices, FEATURES_COLUMNS)
    if name is None:
        raise DataError(f"{source}: several matrices ({some_names(matrices)}); choose with --features-column")
    return name


def column_names(
    arrays: Mapping[str, Array], rows: int, texts: Texts, source: str, choice: ColumnChoice
) -> tuple[dict[str, str], dict[str, str]]:
    """The arrays with one entry per row: the name that FEATURES has for each, and its own; and what to say of the ids.

    Args:
        texts: the entries of an array as texts, in pieces.

    Raises:
        DataError: ids or labels for another number of rows, an array in the place of one of them, or ids that cannot be
            made out.
        UsageError: an array that the user named is not there.
    """
    flat = [name for name, array in arrays.items() if len(array.shape) == 1]
    for flag, wanted in (("--id-column", choice.id_column), ("--label-column", choice.label_column)):
        if wanted is not None and wanted not in flat:
            raise UsageError(f"{source}: {flag} {wanted}: no such one-dimensional array; there are {some_names(flat)}")
    usual = choice.id_column or (find_column(flat, ID_COLUMNS) if choice.ids is None else None)
    label = pick_label(flat, usual, choice.label_column, source)
    for name in filter(None, (usual, label)):
        if (length := arrays[name].shape[0]) != rows:
            raise DataError(f"{source}: array {name!r} has {length} entries for {rows} rows of features")
    others = [name for name in flat if arrays[name].shape[0] == rows and name != label]
    settled, left_out, numbered = settle_ids(flat, others, texts, choice, source)
    ids = None if settled.ids is not None else settled.id_column
    others = [name for name in others if name != ids and name not in left_out]
    require_free_names(others, source, "array")
    chosen = {target: name for target, name in ((ID, ids), (LABEL, label)) if name is not None}
    return chosen | {name: name for name in others}, {IDS_KEY: ROW_NUMBERS} if numbered else {}


def refuse_columns(source: str, choice: ColumnChoice) -> None:
    """For files that hold nothing but one vector a protein.

    Raises:
        UsageError: the user named a column.
    """
    for flag, name in (("--id-column", choice.id_column), ("--label-column", choice.label_column)):
        if name is not None:
            raise UsageError(f"{source}: {flag} {name}: each protein stands for itself here, and there are no columns")


def as_column(values: np.ndarray, where: str) -> pa.Array:
    """A one-dimensional array as a column; bytes are UTF-8 text.

    Raises:
        DataError: it holds neither text nor numbers nor dates.
    """
    try:
        if values.dtype.kind in "SU":
            return pa.array(np.char.decode(values, "utf-8").tolist() if values.dtype.kind == "S" else values.tolist())
        return pa.array(values.astype(values.dtype.newbyteorder("=")))
    except UnicodeDecodeError:
        raise DataError(f"{where} holds bytes that are not UTF-8 text") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        raise DataError(f"{where} holds {values.dtype}; expected text, numbers or dates") from None


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
