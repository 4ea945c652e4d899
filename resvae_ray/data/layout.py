"""Which columns of a table are what: its ids, its features, its labels, and the others.

A column is found by its usual names, or is named by the user.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import FEATURES, ID, LABEL

ID_COLUMNS = ("id", "ids", "entry_id", "entry", "accession", "protein_id", "uniprot_id", "identifier", "name")
INDEX_COLUMNS = ("", "__index_level_0__", "_index")  # an index without a name: of pandas in CSV, in Parquet; of anndata
LABEL_COLUMNS = ("label", "labels")
FEATURES_COLUMNS = ("features", "embedding", "embeddings", "vector", "emb")
SEQUENCE_COLUMNS = ("sequence", "seq")


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


def layout_of(schema: pa.Schema, choice: ColumnChoice, where: str) -> Layout:
    """The layout of an Arrow table; see `find_layout`."""
    return find_layout(schema.names, [field.name for field in schema if is_vector(field.type)], choice, where)


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


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column type holds one vector of numbers a row."""
    if isinstance(kind, pa.FixedShapeTensorType):
        kind = kind.storage_type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def some_names(names: Sequence[str], most: int = 8) -> str:
    """The first names of a list, for a message."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names):,} in all)"


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
