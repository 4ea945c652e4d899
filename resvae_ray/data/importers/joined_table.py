"""Joins a table of labels or metadata to the rows of features, as people publish them: a matrix and a table beside it.

If both sides have ids, rows are joined by id, in any form of same_protein.py. If the features have none, they are
joined by position, provided that the lengths agree, and the table's ids become theirs. Everything else is asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from resvae_ray.data.column_tables import ColumnTable
from resvae_ray.data.file_kind import NPY, kind_by_content
from resvae_ray.data.hashes import ABSENT
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS, is_numbering, only_number_rows
from resvae_ray.data.layout import (
    ID_COLUMNS,
    INDEX_COLUMNS,
    LABEL_COLUMNS,
    SEQUENCE_COLUMNS,
    find_column,
    pick_column,
    require_distinct,
    some_names,
)
from resvae_ray.data.other_tables import ArrayTable, column_of_ids, open_table
from resvae_ray.data.same_protein import AS_WRITTEN, ProteinIds, comparisons, match_ids
from resvae_ray.data.schema import FeatureBatch, as_text, numbers_from
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import FEATURES, ID, LABEL

BY_ID, BY_POSITION = "id", "position"
HOW = (BY_ID, BY_POSITION)
LIST_COLUMN = LABEL  # of a file with one label per row and no header


@dataclass(frozen=True)
class SourceRows:
    """The rows of the features that a table is joined to.

    Attributes:
        path: their file.
        ids: (n) strings in pieces.
        numbered: the ids are only the numbers of the rows.
        names: of the columns that pass through.
        ids_kept: the user said that the ids are numbers; those of a table do not replace them.
    """

    path: str
    ids: list[pa.Array]
    numbered: bool
    names: tuple[str, ...]
    ids_kept: bool = False

    @classmethod
    def of(cls, path: str, batches: Iterator[FeatureBatch], ids_kept: bool) -> "SourceRows":
        """Reads all batches, and keeps no vectors.

        Raises:
            DataError: of the batches.
        """
        ids, first = [], None
        for batch in batches:
            first = first or batch
            ids.append(batch.ids)
        found = {} if first is None else first.found
        numbered = found.get(IDS_KEY) == ROW_NUMBERS or only_number_rows(ID, lambda: ids)
        return cls(path, ids, numbered, tuple(first.others.column_names) if first else (), ids_kept)

    def __len__(self) -> int:
        return sum(map(len, self.ids))

    def texts(self) -> list[str]:
        """The ids in one list."""
        return [text for piece in self.ids for text in piece.to_pylist()]

    def in_order(self) -> bool:
        """Whether the numbers that are the ids ascend."""
        numbers = [float(text) for text in self.texts()]
        return all(before < after for before, after in pairwise(numbers))


class JoinedTable:
    """A table whose rows were found for those of the features. It is held in memory.

    Args:
        path: a table in a format that `open_table` reads; of labels also a text with one per line, or a 1-D .npy.
        rows: of the features.
        labels_alone: only its labels are wanted.
        label_column: the user's choice; the defaults are sought if None.
        how: one of HOW, or None to decide by the ids there are.

    Attributes:
        rows: as given, with the ids and columns that joining adds.
        about: how many rows were joined, and how.

    Raises:
        DataError: it cannot be read, it does not fit the rows, or `how` has to be given.
        UsageError: a column that the user named is not there.
    """

    def __init__(
        self, path: str, rows: SourceRows, labels_alone: bool, label_column: str | None, how: str | None
    ) -> None:
        table = ArrayTable(path, LIST_COLUMN) if labels_alone and kind_by_content(path) == NPY else open_table(path)
        if not table.has_columns and not labels_alone:
            raise UsageError(f"{path}: a list without a header; --labels reads it as labels, --ids as ids")
        require_distinct(table.names, path)
        _require_header(table, rows)
        id_column = _id_column(table, rows)
        label = _label(table, id_column, label_column, labels_alone)
        columns = _whole(table, table.names, id_column)
        ids = None if id_column is None else as_text(columns.column(id_column), f"{path}: column {id_column}")
        numbers_rows = ids is not None and only_number_rows(id_column, lambda: [ids])
        by = how or _how(path, rows, ids, numbers_rows)
        if how is None and by == BY_POSITION:
            _require_order(path, columns, label, rows)
        self._path, self._ids = path, None
        if by == BY_ID:
            values = columns.select([str(label)] if labels_alone else [n for n in table.names if n != id_column])
            self._positions, forms = _by_id(path, rows, ids, values)
        else:
            self._positions, forms = _by_position(path, rows, len(columns)), {}
            if rows.numbered and not rows.ids_kept and not numbers_rows:
                self._ids = ids
        if label is not None:
            texts = as_text(columns.column(label), f"{path}: column {label}")
            columns = columns.set_column(columns.column_names.index(label), LABEL, texts)
        # An id that is neither that of the features nor becomes it is a column as any other.
        passes = by == BY_POSITION and self._ids is None and not numbers_rows and not labels_alone
        self._columns = columns if id_column is None or passes else columns.drop_columns([id_column])
        if labels_alone:
            self._columns = columns.select([LABEL])
        self._require_free(rows)
        self.about = _about(self._positions, len(columns), by, forms)
        self.rows = replace(rows, names=(*rows.names, *self._columns.column_names))
        if self._ids is not None:
            self.rows = replace(self.rows, ids=[self._ids], numbered=False)

    def attach(self, batch: FeatureBatch, start: int, key: str) -> FeatureBatch:
        """The batch with the columns of the table, and its ids if the features had none.

        Args:
            start: how many rows come before the batch.
            key: under which `found` says how rows were joined.
        """
        places = self._positions[start : start + len(batch)]
        taken = self._columns.take(pa.array(places, mask=places < 0))
        columns = {name: batch.others.column(name) for name in batch.others.column_names}
        columns |= {name: taken.column(name) for name in taken.column_names}
        found = {**batch.found, key: f"{Path(self._path).name}, {self.about}"}
        ids = batch.ids
        if self._ids is not None:
            ids, found[IDS_KEY] = self._ids.slice(start, len(batch)), Path(self._path).name
        first = [LABEL] if LABEL in columns else []
        ordered = {name: columns[name] for name in [*first, *(name for name in columns if name != LABEL)]}
        return replace(batch, ids=ids, others=pa.table(ordered), found=found)

    def _require_free(self, rows: SourceRows) -> None:
        for name in self._columns.column_names:
            if name in rows.names:
                raise DataError(f"{self._path}: column {name!r} is also in {rows.path}; rename or remove one of them")
            if name in (ID, FEATURES):
                raise DataError(f"{self._path}: column {name!r} has a name that FEATURES need; rename or remove it")


@dataclass(frozen=True)
class TablesBeside:
    """The files whose columns are joined to features.

    Attributes:
        labels: a table with labels, a text with one per line, or a one-dimensional .npy.
        metadata: a table all of whose columns are wanted.
        how: "id" or "position"; None joins by the ids there are.

    Raises:
        UsageError: another `how`, or one without files.
    """

    labels: str | Path | None = None
    metadata: str | Path | None = None
    how: str | None = None

    def __post_init__(self) -> None:
        if self.how is not None and (self.how not in HOW or not self):
            raise UsageError(f"--join {self.how}: expected {' or '.join(HOW)}, with --labels or --metadata")

    def __bool__(self) -> bool:
        return self.labels is not None or self.metadata is not None

    def has_labels(self, column: str | None) -> bool:
        """Whether the labels are in a file of these; `column` is the user's choice."""
        chosen = column is not None and self.metadata is not None and column in open_table(self.metadata).names
        return self.labels is not None or chosen

    def joined_to(self, rows: SourceRows, label_column: str | None) -> dict[str, JoinedTable]:
        """The tables, by the names of the fields. The ids that the first one adds serve to join the second one.

        Raises:
            DataError, UsageError: see `JoinedTable`.
        """
        tables: dict[str, JoinedTable] = {}
        if self.labels is not None:
            tables["labels"] = JoinedTable(str(self.labels), rows, True, label_column, self.how)
            rows, label_column = tables["labels"].rows, None
        if self.metadata is not None:
            tables["metadata"] = JoinedTable(str(self.metadata), rows, False, label_column, self.how)
        return tables


def _require_header(table: ColumnTable, rows: SourceRows) -> None:
    """
    Raises:
        DataError: the first line has an id of the features in the place of a column's name.
    """
    if not table.has_columns or rows.numbered:
        return
    names, ids = ProteinIds(lambda: [pa.array(table.names, pa.string())]), ProteinIds(lambda: rows.ids)
    found = match_ids(names, ids, len(table.names))
    if (found >= 0).any():
        name = table.names[int((found >= 0).argmax())]
        raise DataError(f"{table.path}: the first line has the id {name!r}; expected a header with the column names")


def _id_column(table: ColumnTable, rows: SourceRows) -> str | None:
    """The column with a usual name, else the one in which most ids of the features stand, if half of them do."""
    if not table.has_columns:
        return None
    if (usual := find_column(table.names, ID_COLUMNS)) is not None or rows.numbered:
        return usual or find_column(table.names, INDEX_COLUMNS)
    best, agree = column_of_ids(table, ProteinIds(lambda: rows.ids), len(rows))
    return best if 2 * agree >= len(rows) else find_column(table.names, INDEX_COLUMNS)


def _label(table: ColumnTable, id_column: str | None, wanted: str | None, needed: bool) -> str | None:
    """The label column: the chosen one, the one with a usual name, or the only one of a table that is for labels."""
    if not table.has_columns:
        return table.names[0]
    others = [name for name in table.names if name != id_column]
    if (label := pick_column(others, wanted, LABEL_COLUMNS, table.path, "--label-column")) is not None or not needed:
        return label
    sequence = find_column(others, SEQUENCE_COLUMNS)
    others = [name for name in others if name not in (sequence, *INDEX_COLUMNS)]
    if len(others) != 1:
        raise DataError(
            f"{table.path}: no column 'label'; name the labels with --label-column, the columns are "
            f"{some_names(table.names)}"
        )
    return others[0]


def _whole(table: ColumnTable, names: Sequence[str], id_column: str | None) -> pa.Table:
    names = list(dict.fromkeys([*names, *([] if id_column is None else [id_column])]))
    pieces = list(table.pieces(names, id_column))
    if not sum(map(len, pieces)):
        raise DataError(f"{table.path}: it holds no rows")
    return pa.concat_tables(pieces).combine_chunks()


def _how(path: str, rows: SourceRows, ids: pa.Array | None, numbers_rows: bool) -> str:
    """By id or by position, where that is beyond doubt.

    Raises:
        DataError: it is not.
    """
    theirs = ids is not None and not numbers_rows
    if theirs and not rows.numbered:
        return BY_ID
    if rows.numbered and ids is not None and ids.to_pylist() == rows.texts():
        return BY_POSITION
    if rows.numbered and (theirs or ids is None or ids.to_pylist() == numbers_from(0, len(ids)).to_pylist()):
        if rows.in_order():
            return BY_POSITION
        raise DataError(
            f"{rows.path}: its row numbers are not in order, and {path} does not have them in this order; say --join "
            "position if the rows of both are in one order, or --join id if the ids of both are these numbers"
        )
    what = f"{rows.path} has {'no' if rows.numbered else 'its own'} ids, and those of {path} only number rows"
    if ids is None:
        what = f"{rows.path} has ids, and no column of {path} is called 'id' or holds them"
    raise DataError(f"{what}; name the ids, or say --join position if the rows of both are in one order")


def _require_order(path: str, columns: pa.Table, label: str | None, rows: SourceRows) -> None:
    """
    Raises:
        DataError: a column holds the numbers 0 … n-1 in another order, as of the rows that the labels belong to.
    """
    for name in columns.column_names:
        kind = columns.schema.field(name).type
        if name == label or not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
            continue
        texts = as_text(columns.column(name), f"{path}: column {name}")
        known = (numbers_from(0, len(texts)).to_pylist(), rows.texts())
        if is_numbering([texts]) and texts.to_pylist() not in known:
            raise DataError(
                f"{path}: column {name!r} numbers the rows in another order; sort the table by it, or say --join "
                "position if its rows are in the order of the features"
            )


def _by_position(path: str, rows: SourceRows, count: int) -> np.ndarray:
    if count != len(rows):
        raise DataError(
            f"{path}: {count:,} rows below the header, but {rows.path} has {len(rows):,}; rows are joined by position "
            "only if these agree"
        )
    return np.arange(count)


def _by_id(path: str, rows: SourceRows, ids: pa.Array | None, values: pa.Table) -> tuple[np.ndarray, dict[str, int]]:
    """The row of the table (n, int64), or -1, for each of `rows`; and how many ids agree in which form.

    Raises:
        DataError: none agrees, or two rows of the table are for one protein and differ.
    """
    if ids is None:
        raise DataError(f"{path}: no column with ids to join by; call it 'id', or say --join position")
    ours, theirs = ProteinIds(lambda: rows.ids), ProteinIds(lambda: [ids])
    positions, forms = np.full(len(rows), -1), {}
    for agreement, our_form, their_form in comparisons(ours, theirs, parts=False):  # a mutant has labels of its own
        wanted, known = ours.hashes(our_form), theirs.hashes(their_form)
        order = np.argsort(known, kind="stable")
        first = np.searchsorted(known, wanted, "left", order)
        hit = (positions < 0) & (wanted != ABSENT) & (first < len(ids))
        hit[hit] = known[order[first[hit]]] == wanted[hit]
        positions[hit] = order[first[hit]]
        for start, stop in zip(first[hit], np.searchsorted(known, wanted[hit], "right", order), strict=True):
            for again in order[start + 1 : stop]:
                _require_equal(path, values, int(order[start]), int(again), ids[int(again)].as_py())
        if hit.any():
            forms[agreement] = forms.get(agreement, 0) + int(hit.sum())
    if not forms:
        raise DataError(
            f"{path}: none of its ids is one of {rows.path}: those are {ours.kind}, these {theirs.kind}; if the rows "
            "of both are in one order, say --join position"
        )
    return positions, forms


def _require_equal(path: str, values: pa.Table, first: int, again: int, name: str) -> None:
    if values.slice(first, 1).to_pylist() != values.slice(again, 1).to_pylist():
        raise DataError(
            f"{path}: rows {first + 1} and {again + 1} are both for id {name!r}, and differ; keep one row per protein"
        )


def _about(positions: np.ndarray, count: int, by: str, forms: dict[str, int]) -> str:
    joined, used = int((positions >= 0).sum()), len(np.unique(positions[positions >= 0]))
    text = f"{joined:,} of {len(positions):,} rows by {by}"
    if set(forms) - {AS_WRITTEN}:
        text += f" ({', '.join(f'{form} {number:,}' for form, number in forms.items())})"
    return text if used == count else f"{text}, {count - used:,} rows of the table unused"
