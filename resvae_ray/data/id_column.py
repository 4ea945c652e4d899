"""Finds the id column of an imported table if the column names do not identify it.

Numbers 0 … n-1 only number the rows, in whichever column they are. A column of texts that (almost) all differ, or that
look like accessions, is never passed over for them without a question, even if it is called a label. A table without
any such column has no ids, and its rows are numbered.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.data.hashes import ABSENT, distinct, hash_texts
from resvae_ray.data.layout import (
    ID_COLUMNS,
    INDEX_COLUMNS,
    ROWS,
    SEQUENCE_COLUMNS,
    ColumnChoice,
    Layout,
    find_column,
    find_layout,
    no_id_column,
    pick_column,
    require_free_names,
)
from resvae_ray.data.same_protein import KINDS, kind_of
from resvae_ray.errors import DataError
from resvae_ray.names import ID

IDS_KEY = "ids"  # in the provenance: where ids come from, if not from a column with a name
ROW_NUMBERS, NAMELESS = "row numbers", "from the column without a name"
WHOLE_NUMBER = r"^[0-9]{1,15}(?:\.0)?$"
NUMBER = r"(?i)^\s*[-+]?(?:(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:e[-+]?[0-9]+)?|nan|inf|infinity|na|n/a|null|none)\s*$"
HALF, ALMOST = 0.5, 0.9
NAMING_KINDS = {*KINDS} - {"whole numbers", "sequences"}

Texts = Callable[[str], Iterable[pa.Array]]  # the texts of a column, in pieces


def import_layout(
    names: Sequence[str], vector_names: Sequence[str], texts: Texts, choice: ColumnChoice, where: str
) -> tuple[Layout, dict[str, str]]:
    """The layout of an imported table, and a note about its ids.

    Args:
        names, vector_names: see `find_layout`.
        texts: the texts of a column.

    Raises:
        DataError, UsageError: see `find_layout` and `settle_ids`.
    """
    if choice.id_column is None and choice.ids is None:
        bare = find_layout(names, vector_names, replace(choice, ids=ROWS), where)
    else:
        bare = find_layout(names, vector_names, choice, where)
    labels = [bare.label] if bare.label is not None and choice.label_column is None else []
    settled, left_out, numbered = settle_ids(names, [*bare.others, *labels], texts, choice, where)
    layout = find_layout([name for name in names if name not in left_out], vector_names, settled, where)
    require_free_names(layout.others, where)
    if numbered:
        return layout, {IDS_KEY: ROW_NUMBERS}
    return layout, {IDS_KEY: NAMELESS} if layout.id in INDEX_COLUMNS else {}


def is_numbering(pieces: Iterable[pa.Array]) -> bool:
    """Whether the texts are the numbers 0 … n-1, in any order. Needs 8 bytes per row if all are numbers."""
    numbers = [np.empty(0, np.int64)]
    for texts in pieces:
        if not _are_numbers(texts):
            return False
        numbers.append(pc.replace_substring_regex(texts, r"\.0$", "").cast(pa.int64()).to_numpy())
    found = np.sort(np.concatenate(numbers))
    return len(found) > 0 and bool((found == np.arange(len(found))).all())


def only_number_rows(column: str | None, pieces: Callable[[], Iterable[pa.Array]]) -> bool:
    """Whether the ids in that column only number the rows: 0 … n-1, or whole numbers in an index without a name."""
    return is_numbering(pieces()) or (column in INDEX_COLUMNS and all(map(_are_numbers, pieces())))


def in_order_of_number(keys: Sequence[str]) -> list[str] | None:
    """The keys of a container by their number, if they are 0 … n-1; else None."""
    if not is_numbering([pa.array(list(keys), pa.string())]):
        return None
    return sorted(keys, key=float)


def settle_ids(
    names: Sequence[str], others: Sequence[str], texts: Texts, choice: ColumnChoice, where: str
) -> tuple[ColumnChoice, list[str], bool]:
    """The choice with the id column named, or with ids=ROWS if the rows get numbers.

    Args:
        names: of all columns.
        others: those that may hold ids: neither the features nor a label that the user named.
        texts: the texts of one of `others`.

    Returns:
        The choice; columns that only number the rows beside other ids, and are left out; whether the ids are numbers of
        rows.

    Raises:
        DataError: another column than the one with a usual name may hold the ids; or none has a usual name.
        UsageError: the column that the user named is not there.
    """
    index = find_column(others, INDEX_COLUMNS)
    if choice.ids is not None:
        numbers = [index] if index is not None and all(map(_are_numbers, texts(index))) else []
        if numbers and choice.ids != ROWS and not _ascend(texts(numbers[0])):
            raise DataError(
                f"{where}: the index numbers the rows in another order, and --ids {choice.ids} may name others; sort "
                "the rows by the index, or remove it"
            )
        return choice, [*numbers, *_numbering_called_id(others, None, texts)], choice.ids == ROWS
    column = pick_column(names, choice.id_column, ID_COLUMNS, where, "--id-column")
    if column is None:
        return _settle_without(names, others, index, texts, choice, where)
    numbered = is_numbering(texts(column))
    if numbered and choice.id_column is None:
        require_none_passed_over(column, others, texts, where)
    return replace(choice, id_column=column), _numbering_called_id(others, column, texts), numbered


def require_none_passed_over(column: str, others: Sequence[str], texts: Texts, where: str) -> None:
    """
    Args:
        column: the one with the usual name of ids, which only numbers the rows.

    Raises:
        DataError: another one may hold the ids.
    """
    if better := _distinct_texts(others, texts, column):
        raise DataError(
            f"{where}: {column!r} only numbers the rows, and the texts in {better[0]!r} may be the ids; choose "
            f"--id-column {better[0]} or --id-column {column}"
        )


def _settle_without(
    names: Sequence[str], others: Sequence[str], index: str | None, texts: Texts, choice: ColumnChoice, where: str
) -> tuple[ColumnChoice, list[str], bool]:
    """As `settle_ids`, where no column has the name of ids; `index` is one without a name, if there is one."""
    if index is not None and not all(map(_are_numbers, texts(index))):
        if _mostly_repeats(texts(index)):
            raise DataError(
                f"{where}: the index without a name repeats its values, and no column is called 'id'; name the ids "
                "with --id-column, or number the rows with --ids rows"
            )
        return replace(choice, id_column=index), [], False
    if _distinct_texts(others, texts, index):
        raise no_id_column(names, where)
    if index is None or not _all_differ(texts(index)):
        return replace(choice, ids=ROWS), [] if index is None else [index], True
    return replace(choice, id_column=index), [], True


def _numbering_called_id(others: Sequence[str], column: str | None, texts: Texts) -> list[str]:
    """A column `id` that numbers the rows, beside other ids: FEATURES have no place for it."""
    return [ID] if ID in others and column != ID and is_numbering(texts(ID)) else []


def _distinct_texts(others: Sequence[str], texts: Texts, besides: str | None) -> list[str]:
    """The first column of texts, other than numbers and sequences, that may be ids."""
    sequence = find_column(others, SEQUENCE_COLUMNS)
    for name in others:
        if name in (besides, *INDEX_COLUMNS) or (name == sequence and _are_sequences(texts(name))):
            continue
        if _may_be_ids(texts, name):
            return [name]
    return []


def _all_differ(pieces: Iterable[pa.Array]) -> bool:
    """Whether every text is present and differs from all others."""
    hashes = [np.empty(0, np.uint64)]
    for texts in pieces:
        part = np.unique(hash_texts(texts))
        if len(part) < len(texts) or ABSENT in part[:1]:
            return False
        hashes.append(part)
    whole = np.concatenate(hashes)
    return len(whole) > 0 and len(np.unique(whole)) == len(whole)


def _may_be_ids(texts: Texts, name: str) -> bool:
    """Whether almost all texts differ, or most do and look like accessions; some may be missing or repeated."""
    hashes = [np.empty(0, np.uint64)]
    for piece in texts(name):
        if _share(piece, NUMBER) > HALF:
            return False
        hashes.append(hash_texts(piece))
    whole = np.concatenate(hashes)
    differ = len(distinct(whole)) / max(1, len(whole))
    return differ >= ALMOST or (differ > HALF and kind_of(texts(name)).name in NAMING_KINDS)


def _are_sequences(pieces: Iterable[pa.Array]) -> bool:
    """Whether the first texts have letters alone."""
    return _share(next(iter(pieces), pa.array([], pa.string())), r"^[A-Za-z*.\s-]*$") > HALF


def _share(texts: pa.Array, pattern: str) -> float:
    """The fraction of the texts, apart from those that are missing, that match."""
    present = texts.filter(pc.not_equal(pc.fill_null(texts, ""), ""))
    return pc.mean(pc.match_substring_regex(present, pattern)).as_py() or 0.0


def _ascend(pieces: Iterable[pa.Array]) -> bool:
    """Whether numbers are in order; an index that repeats one number numbers nothing."""
    numbers = [float(text) for piece in pieces for text in piece.to_pylist()]
    return len(set(numbers)) < len(numbers) or numbers == sorted(numbers)


def _mostly_repeats(pieces: Iterable[pa.Array]) -> bool:
    """Whether each text has two rows or more on average, as classes do; an id may be repeated by mistake."""
    hashes = np.concatenate([np.empty(0, np.uint64), *map(hash_texts, pieces)])
    return 2 * len(np.unique(hashes)) <= len(hashes)


def _are_numbers(texts: pa.Array) -> bool:
    return bool(pc.all(pc.match_substring_regex(pc.fill_null(texts, ""), WHOLE_NUMBER), min_count=0).as_py())
