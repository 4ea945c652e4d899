"""Which columns of a table are what: its ids, its features, its labels, and the others.

A column is found by its usual names, or is named by the user.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resvae_ray.data.same_protein import are_accessions
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import FEATURES, ID, LABEL, LATENT

ID_COLUMNS = (
    *("id", "ids", "entry_id", "entry_ids", "entry", "entries", "accession", "accessions", "protein_id", "protein_ids"),
    *("uniprot_id", "uniprot_ids", "identifier", "identifiers", "sequence_id", "sequence_ids", "name", "names"),
    *("header", "headers", "proteins"),  # the last is STRING's
)
ROWS = "rows"  # as a choice of ids: the numbers of the rows
# An index without a name: of pandas in CSV, in Parquet, in CSV that it has read; of anndata.
INDEX_COLUMNS = ("", "__index_level_0__", "Unnamed: 0", "_index")
LABEL_COLUMNS = ("label", "labels")
FEATURES_COLUMNS = ("features", "embedding", "embeddings", "vector", "emb")
SEQUENCE_COLUMNS = ("sequence", "seq", "sequences", "seqs", "protein_sequence", "aa_sequence", "aa_seq")


@dataclass(frozen=True)
class ColumnChoice:
    """The user's choice of columns; None selects the defaults."""

    id_column: str | None = None
    label_column: str | None = None
    features_column: str | None = None  # a column of vectors, or the name of a two-dimensional array
    prefix: str | None = None  # of numbered columns, one a feature
    sheet: str | None = None  # of a workbook
    layer: int | None = None  # of the model, where a file holds several
    ids: str | None = None  # ROWS, or a file with one id per row: no column holds them


@dataclass(frozen=True)
class Layout:
    """Where a table keeps what. `features` is one column of vectors, or D numbered columns in the order of number.

    `id` is None for a table without ids, which `import` reads.
    """

    id: str | None
    features: tuple[str, ...]
    wide: bool
    label: str | None
    others: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        return [name for name in (self.id, self.label, *self.features, *self.others) if name is not None]

    @property
    def of_latents(self) -> bool:
        """Whether the vectors are called as the latents of `encode` are."""
        return self.features == (LATENT,)


def find_layout(names: Sequence[str], vector_names: Sequence[str], choice: ColumnChoice, where: str) -> Layout:
    """Which of the columns `names` are what; `vector_names` are those among them that hold vectors.

    Raises:
        DataError: no id column or no features can be made out; the columns there are named.
        UsageError: a column that the user named is not there.
    """
    require_distinct(names, where)
    id_column = None
    if choice.ids is None:
        id_column = pick_column(names, choice.id_column, ID_COLUMNS + INDEX_COLUMNS, where, "--id-column")
        if id_column is None:
            raise no_id_column(names, where)
    label = pick_label(names, id_column, choice.label_column, where)
    vectors = [name for name in vector_names if name not in (id_column, label)]
    vector = None if choice.prefix is not None else _vector_column(vectors, choice, where)
    features = (vector,) if vector else _numbered(names, choice.prefix, {id_column, label}, where)
    taken = {id_column, label, *features}
    others = tuple(name for name in names if name not in taken)
    return Layout(id_column, features, vector is None, label, others)


def require_distinct(names: Sequence[str], where: str) -> None:
    """
    Raises:
        DataError: two columns have one name.
    """
    if len(set(names)) < len(names):
        repeated = min(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: two columns are called {repeated!r}; column names must differ")


def require_free_names(others: Iterable[str], where: str, what: str = "column") -> None:
    """
    Raises:
        DataError: a column that passes through has a name that FEATURES need.
    """
    for name in sorted({ID, FEATURES, LABEL} & set(others)):
        raise DataError(f"{where}: {what} {name!r} is neither the id, the label nor the features; rename or remove it")


def no_id_column(names: Sequence[str], where: str, what: str = "column") -> DataError:
    """What to say of a table whose ids cannot be made out."""
    return DataError(
        f"{where}: no id {what}; name it with --id-column, or number the rows with --ids rows; the {what}s are "
        f"{some_names(names)}"
    )


def find_column(names: Sequence[str], candidates: Sequence[str]) -> str | None:
    """The first of `names` that equals one of `candidates`, tried in their order, whatever the case.

    Spaces, hyphens and underscores count for nothing: `Entry ID`, `EntryId` and `entry_id` are one name.
    """
    by_letters = {_letters(name): name for name in reversed(names) if _letters(name)}
    by_letters |= {name: name for name in names if name in candidates}  # also '' and '_index', the names of no index
    return next((by_letters[key] for c in candidates for key in (c, _letters(c)) if key in by_letters), None)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def pick_label(names: Sequence[str], id_column: str | None, wanted: str | None, where: str) -> str | None:
    """The label column, if there is one; never the id column.

    Raises:
        UsageError: the named one is not there, or is the id column.
    """
    if wanted is not None and wanted == id_column:
        raise UsageError(f"{where}: column {wanted!r} cannot be both the id and the label")
    others = [name for name in names if name != id_column]
    return pick_column(others, wanted, LABEL_COLUMNS, where, "--label-column")


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


def some_names(names: Sequence[str | int], most: int = 8) -> str:
    """The first names or numbers of a list, for a message."""
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


def has_numbered(names: Sequence[str]) -> bool:
    """Whether two names at least differ in a number at their end alone."""
    stems = [match[1] for name in names if (match := re.fullmatch(r"(.*?)(\d+)", name))]
    return len(set(stems)) < len(stems)


def _stem(text: str) -> str:
    """The common part of numbered columns: numpy.savetxt writes `# ` before the first one, others spaces between."""
    return text.strip().removeprefix("#").strip()


def _numbered(names: Sequence[str], prefix: str | None, taken: set[str | None], where: str) -> tuple[str, ...]:
    """The columns prefix0, prefix1, … in the order of their number; without a prefix, the only such family."""
    if are_accessions([name for name in names if name not in taken]):
        raise DataError(
            f"{where}: the columns are called by proteins ({some_names(names, 3)}) and the rows are features; "
            "transpose the table"
        )
    families: dict[str, dict[int, str]] = defaultdict(dict)
    for name in names:
        if name not in taken and (match := re.fullmatch(r"(.*?)(\d+)", name)):
            other = families[_stem(match[1])].setdefault(int(match[2]), name)
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
    if not (members := families.get(_stem(prefix))):
        raise UsageError(
            f"{where}: --prefix {prefix}: no column {prefix}0, {prefix}1, …; the columns are {some_names(names)}"
        )
    first = min(members)
    if missing := [n for n in range(first, first + len(members)) if n not in members]:
        raise DataError(
            f"{where}: column {prefix}{missing[0]} is missing from {prefix}{first} … {prefix}{max(members)}"
        )
    return tuple(members[number] for number in sorted(members))
