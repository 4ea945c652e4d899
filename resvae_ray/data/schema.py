"""The FEATURES contract: which columns of a table are what, and how its vectors become a float32 matrix.

A table has an id column (string), the features (one vector a row, or one column a feature), and any other columns,
which pass through untouched. Rows are counted from 1 in messages.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import FEATURES, ID, LABEL

ID_COLUMNS = ("id", "ids", "entry_id", "entry", "accession", "protein_id", "uniprot_id", "identifier", "name")
INDEX_COLUMNS = ("", "__index_level_0__", "_index")  # an index without a name: of pandas in CSV, in Parquet; of anndata
LABEL_COLUMNS = ("label", "labels")
FEATURES_COLUMNS = ("features", "embedding", "embeddings", "vector", "emb")
SEQUENCE_COLUMNS = ("sequence", "seq")
IDS_KEY, ROW_NUMBERS = "ids", "row numbers"  # in the provenance of features that came without ids


@dataclass(frozen=True)
class ColumnChoice:
    """What the user said about the columns; None leaves it to the defaults."""

    id_column: str | None = None
    label_column: str | None = None
    features_column: str | None = None  # a column of vectors, or the name of a two-dimensional array
    prefix: str | None = None  # of numbered columns, one a feature
    sheet: str | None = None  # of a workbook
    layer: int | None = None  # of the model, where a file holds several


@dataclass(frozen=True)
class Layout:
    """Where a table keeps what. `features` is one column of vectors, or D numbered columns in the order of number."""

    id: str
    features: tuple[str, ...]
    wide: bool
    label: str | None
    others: tuple[str, ...]


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

    def table(self) -> pa.Table:
        """The rows as FEATURES has them: id, features, then the others."""
        table = pa.table({ID: self.ids, FEATURES: vectors(self.features)})
        for name in self.others.column_names:
            table = table.append_column(self.others.schema.field(name), self.others.column(name))
        return table


def vectors(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """A matrix (n, D) as a column of n vectors of float32."""
    flat = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def find_layout(names: Sequence[str], vector_names: Sequence[str], choice: ColumnChoice, where: str) -> Layout:
    """Which of the columns `names` are what; `vector_names` are those among them that hold vectors.

    Raises:
        DataError: no id column or no features can be made out; the columns there are named.
        UsageError: a column that the user named is not there.
    """
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise DataError(f"{where}: two columns are called {repeated[0]!r}; column names must differ")
    id_column = pick_column(names, choice.id_column, ID_COLUMNS + INDEX_COLUMNS, where, "--id-column")
    if id_column is None:
        raise DataError(f"{where}: no id column; name it with --id-column, the columns are {some_names(names)}")
    label = pick_column(names, choice.label_column, LABEL_COLUMNS, where, "--label-column")
    vector = None if choice.prefix is not None else _vector_column(vector_names, choice, where)
    features = (vector,) if vector else _numbered(names, choice.prefix, {id_column, label}, where)
    taken = {id_column, label, *features}
    others = tuple(name for name in names if name not in taken)
    for name in {ID, FEATURES, LABEL} & set(others):
        raise DataError(f"{where}: column {name!r} is neither the id, the label nor the features; rename or remove it")
    return Layout(id_column, features, vector is None, label, others)


def find_column(names: Sequence[str], candidates: Sequence[str]) -> str | None:
    """The first of `names` that equals one of `candidates`, tried in their order, whatever the case."""
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[candidate] for candidate in candidates if candidate in by_lower), None)


def pick_column(
    names: Sequence[str], wanted: str | None, candidates: Sequence[str], where: str, flag: str
) -> str | None:
    """The column that the user named with `flag`, else the first that has one of the usual names.

    Raises:
        UsageError: the named one is not there.
    """
    if wanted is None:
        return find_column(names, candidates)
    if wanted not in names:
        raise UsageError(f"{where}: {flag} {wanted}: no such column; the columns are {some_names(names)}")
    return wanted


def row_numbers(column: str, ids: pa.Array) -> dict[str, str]:
    """What the provenance says of ids that only number the rows: whole numbers in an index that nobody named."""
    numbers = pc.all(pc.match_substring_regex(pc.fill_null(ids, ""), r"^\d+$"), min_count=1).as_py()
    return {IDS_KEY: ROW_NUMBERS} if column in INDEX_COLUMNS and numbers else {}


def layout_of(schema: pa.Schema, choice: ColumnChoice, where: str) -> Layout:
    """The layout of an Arrow table; see `find_layout`."""
    return find_layout(schema.names, [field.name for field in schema if is_vector(field.type)], choice, where)


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column type holds one vector of numbers a row."""
    if isinstance(kind, pa.FixedShapeTensorType):
        kind = kind.storage_type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))  # type: ignore[attr-defined]


def decode(table: pa.Table, layout: Layout, where: str, first_row: int = 1) -> FeatureBatch:
    """The rows of a table with that layout.

    Args:
        first_row: the number of the table's first row in messages.

    Raises:
        DataError: a missing id or value, vectors of two widths, text among numbers; with row and column.
    """
    others = table.select(layout.others)
    if layout.label:
        others = others.add_column(0, LABEL, as_text(table.column(layout.label), f"{where}: column {layout.label}"))
    ids = as_text(table.column(layout.id), f"{where}: column {layout.id}")
    return FeatureBatch(ids, decode_matrix(table, layout, where, first_row), _nullable(others))


def as_text(column: pa.ChunkedArray, where: str) -> pa.Array:
    """A column of ids or labels as one array of strings; numbers and categories become text.

    Raises:
        DataError: it holds what has no text, such as lists.
    """
    try:
        return as_array(column.cast(pa.string()))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise DataError(f"{where} holds {column.type}; expected text") from None


def as_array(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
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
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return bool(np.isfinite(matrix.sum(dtype=np.float64)))


def _vector_column(vector_names: Sequence[str], choice: ColumnChoice, where: str) -> str | None:
    """The column of vectors, if there is one."""
    if choice.features_column is not None:
        if choice.features_column not in vector_names:
            known = some_names(vector_names) if vector_names else "there is none"
            raise UsageError(f"{where}: --features-column {choice.features_column}: no such column of vectors; {known}")
        return choice.features_column
    if len(vector_names) > 1 and (known := find_column(vector_names, FEATURES_COLUMNS)) is None:
        raise DataError(
            f"{where}: several columns of vectors ({some_names(vector_names)}); choose with `import --features-column`"
        )
    return find_column(vector_names, FEATURES_COLUMNS) or next(iter(vector_names), None)


def _numbered(names: Sequence[str], prefix: str | None, taken: set[str | None], where: str) -> tuple[str, ...]:
    """The columns prefix0, prefix1, … in the order of their number; without a prefix, the only such family."""
    families: dict[str, dict[int, str]] = defaultdict(dict)
    for name in names:
        if name not in taken and (match := re.fullmatch(r"(.*?)(\d+)", name)):
            other = families[match[1]].setdefault(int(match[2]), name)
            if other != name:
                raise DataError(f"{where}: columns {other!r} and {name!r} have the same number")
    if prefix is None:
        families = {stem: members for stem, members in families.items() if len(members) > 1}
        if not families:
            raise DataError(
                f"{where}: no features: no column of vectors and no numbered columns among {some_names(names)}; of "
                "sequences `resvae-ray embed` makes features"
            )
        if len(families) > 1:
            raise DataError(
                f"{where}: several families of numbered columns; choose with `import --prefix`: "
                f"{some_names(list(families))}"
            )
        prefix = next(iter(families))
    if not (members := families.get(prefix)):
        raise UsageError(
            f"{where}: --prefix {prefix}: no column {prefix}0, {prefix}1, …; the columns are {some_names(names)}"
        )
    first = min(members)
    if missing := [n for n in range(first, first + len(members)) if n not in members]:
        raise DataError(
            f"{where}: column {prefix}{missing[0]} is missing from {prefix}{first} … {prefix}{max(members)}"
        )
    return tuple(members[number] for number in sorted(members))


def some_names(names: Sequence[str], most: int = 8) -> str:
    """The first names of a list, for a message."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names):,} in all)"


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
    name = layout.features[0]
    column = as_array(table.column(name))
    if isinstance(column.type, pa.FixedShapeTensorType):
        column = column.storage
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
        return flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(len(column), width)
