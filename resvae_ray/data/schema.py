"""The FEATURES contract: rows of ids, vectors and other columns, read out of a table and checked.

The other columns pass through untouched. Rows are counted from 1 in messages.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.data.layout import Layout
from resvae_ray.data.vector_columns import as_lists
from resvae_ray.errors import DataError
from resvae_ray.names import FEATURES, ID, LABEL


@dataclass(frozen=True)
class FeatureBatch:
    """Some rows of FEATURES.

    Attributes:
        ids: (n) strings.
        features: (n, D) float32, perhaps read-only.
        others: the columns that pass through, n rows if there are any; the label, if any, is called `label`.
        found: what the source says of its features, or which of several things in it were read: the sheet, the layer, …
    """

    ids: pa.Array
    features: np.ndarray
    others: pa.Table
    found: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, keep: np.ndarray) -> "FeatureBatch":
        """The rows where `keep` (n, bool) is true."""
        mask = pa.array(keep)
        others = self.others.filter(mask) if self.others.num_columns else self.others
        return FeatureBatch(self.ids.filter(mask), self.features[keep], others)

    def slice(self, start: int, stop: int) -> "FeatureBatch":
        """The rows from `start` up to, without, `stop`."""
        count = max(0, stop - start)
        return replace(
            self,
            ids=self.ids.slice(start, count),
            features=self.features[start : start + count],
            others=self.others.slice(start, count),
        )

    def table(self) -> pa.Table:
        """The rows as FEATURES has them: id, features, then the others."""
        return with_vectors(self.beside(), self.features)

    def beside(self) -> pa.Table:
        """The ids, then the others: all columns of FEATURES but the vectors."""
        table = required_columns({ID: self.ids})
        for name in self.others.column_names:
            table = table.append_column(self.others.schema.field(name), self.others.column(name))
        return table


def vector_type(dim: int) -> pa.DataType:
    """A vector of `dim` numbers of float32, none of which is missing: databases compute no distances of others."""
    return pa.list_(pa.field("element", pa.float32(), nullable=False), dim)


def vectors(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """A matrix (n, D) as a column of n vectors of float32."""
    flat = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=vector_type(matrix.shape[1]))


def with_vectors(beside: pa.Table, matrix: np.ndarray) -> pa.Table:
    """The columns of `FeatureBatch.beside`, with the vectors (n, D) behind the ids."""
    field = pa.field(FEATURES, vector_type(matrix.shape[1]), nullable=False)
    return beside.add_column(1, field, vectors(matrix))


def required_columns(columns: Mapping[str, pa.Array]) -> pa.Table:
    """A table of columns without missing values, whose schema says so."""
    fields = [pa.field(name, column.type, nullable=False) for name, column in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def numbers_from(start: int, count: int) -> pa.Array:
    """The ids of `count` rows that are named by their number, from 0; `start` rows come before them."""
    return pa.array([str(number) for number in range(start, start + count)], pa.string())


def decode(table: pa.Table, layout: Layout, where: str, first_row: int = 1) -> FeatureBatch:
    """The rows of a table with that layout.

    Args:
        first_row: the number of the table's first row in messages.

    Raises:
        DataError: a missing id or value, vectors of two widths, text among numbers; with row and column.
    """
    others = table.select(layout.others)
    if layout.label:
        others = others.add_column(0, LABEL, _labels(table.column(layout.label), f"{where}: column {layout.label}"))
    if layout.id is None:
        ids = numbers_from(first_row - 1, table.num_rows)
    else:
        ids = as_text(table.column(layout.id), f"{where}: column {layout.id}")
    return FeatureBatch(ids, decode_matrix(table, layout, where, first_row), _nullable(others))


def as_text(column: pa.ChunkedArray, where: str) -> pa.Array:
    """A column of ids or labels as one array of strings; numbers and categories become text, and NaN a missing value.

    Raises:
        DataError: it holds what has no text, such as lists.
    """
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    try:
        return as_array(column.cast(pa.string()))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise DataError(f"{where} holds {column.type}; expected text") from None


def _labels(column: pa.ChunkedArray, where: str) -> pa.Array:
    """Labels as text; several of one protein, in a list, as Python and CSV files write a list."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return pa.array([None if entry is None else str(entry) for entry in column.to_pylist()], pa.string())
    return as_text(column, where)


def as_array(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    if column.num_chunks == 1:
        return column.chunk(0)  # combined, it would be a copy
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)


def _nullable(table: pa.Table) -> pa.Table:
    """The same, with no column that forbids missing values: files of one folder may differ in that."""
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))


def decode_matrix(table: pa.Table, layout: Layout, where: str, first_row: int = 1) -> np.ndarray:
    """The features of a table as a matrix (n, D) of float32; see `decode`."""
    return (_wide_matrix if layout.wide else _list_matrix)(table, layout, where, first_row)


def check_batch(batch: FeatureBatch, names: Sequence[str] | None, where: str, first_row: int) -> None:
    """
    Args:
        names: the columns of the features, if each has its own; else they are named by their position.
        first_row: the number of the batch's first row in messages.

    Raises:
        DataError: a missing id, or NaN or infinity among the features, named by row, id and column.
    """
    if len(batch) and not batch.features.shape[1]:
        raise DataError(f"{where}: vectors without numbers; expected at least one number per feature")
    missing = pc.or_kleene(pc.is_null(batch.ids), pc.equal(pc.fill_null(batch.ids, ""), ""))
    if (row := pc.index(missing, True).as_py()) >= 0:
        raise DataError(f"{where}: row {first_row + row}: the id is missing; every protein needs one")
    if all_finite(batch.features):
        return
    row, column = np.argwhere(~np.isfinite(batch.features))[0]
    name = names[column] if names else f"{FEATURES}[{column}]"
    raise DataError(
        f"{where}: row {first_row + row} (id {batch.ids[row].as_py()}), column {name}: "
        f"{batch.features[row, column]}; features must be finite numbers"
    )


def all_finite(matrix: np.ndarray) -> bool:
    """Whether a matrix of float32 holds neither NaN nor infinity."""
    return bool(np.isfinite(matrix).all())


def _wide_matrix(table: pa.Table, layout: Layout, where: str, first_row: int) -> np.ndarray:
    matrix = np.empty((table.num_rows, len(layout.features)), dtype=np.float32)
    for position, name in enumerate(layout.features):
        column = table.column(name)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DataError(f"{where}: column {name} holds {column.type}; features must be numbers")
        if column.null_count:
            row = pc.index(pc.is_null(column), True).as_py()
            raise DataError(f"{where}: row {first_row + row}, column {name}: the value is missing")
        with np.errstate(over="ignore"):
            matrix[:, position] = column.to_numpy()
    return matrix


def _list_matrix(table: pa.Table, layout: Layout, where: str, first_row: int) -> np.ndarray:
    return vector_matrix(as_array(table.column(layout.features[0])), layout.features[0], where, first_row)


def vector_matrix(column: pa.Array, name: str, where: str, first_row: int) -> np.ndarray:
    """A column of vectors, however they are written, as a matrix (n, D) of float32.

    Raises:
        DataError: a missing vector or value, vectors of two widths, a vector per residue; the row is named.
    """
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise DataError(f"{where}: row {first_row + row}, column {name}: the vector is missing")
    column = as_lists(column, name, where, first_row)
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise DataError(f"{where}: row {first_row + row}, column {name}: the vector is missing")
    if not len(column):
        return np.empty((0, getattr(column.type, "list_size", 0)), dtype=np.float32)
    widths = pc.list_value_length(column)
    width = widths[0].as_py()
    if (row := pc.index(pc.not_equal(widths, width), True).as_py()) >= 0:
        raise DataError(
            f"{where}: row {first_row + row}, column {name}: {widths[row].as_py()} numbers, but {width} in row "
            f"{first_row}; all vectors must have one width"
        )
    flat = column.flatten()
    if flat.null_count:
        place = pc.index(pc.is_null(flat), True).as_py()
        raise DataError(
            f"{where}: row {first_row + place // width}, column {name}[{place % width}]: the value is missing"
        )
    with np.errstate(over="ignore"):
        flat = flat.cast(pa.float64()) if pa.types.is_decimal(flat.type) else flat
        return flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(len(column), width)
