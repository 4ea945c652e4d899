"""Tables (CSV, TSV, TXT, also gzipped; XLSX; Parquet) with an id and a sequence column; other columns pass through."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.data.column_tables import ColumnTable, open_columns
from resvae_ray.data.id_column import settle_ids
from resvae_ray.data.layout import (
    ID_COLUMNS,
    SEQUENCE_COLUMNS,
    ColumnChoice,
    find_column,
    pick_column,
    pick_label,
    require_distinct,
    some_names,
)
from resvae_ray.data.proteins.batch import ProteinBatch, ProteinChoice
from resvae_ray.data.schema import as_text, numbers_from
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import FEATURES, ID, LABEL, SEQUENCE


def read(source: str, choice: ProteinChoice) -> Iterator[ProteinBatch]:
    """The proteins of a table, in order.

    Raises:
        UsageError: a column that was chosen is not there.
        DataError: no such file, no header, no id or sequence column, a row of another length, no rows.
    """
    opened = open_columns(source, choice.sheet)
    require_distinct(opened.names, source)
    layout = _layout(opened, choice, source)
    row, ids_of = 1, next((name for name, target in layout.items() if target == ID), None)
    for piece in opened.pieces(list(layout), ids_of):
        table = piece.rename_columns([layout[name] for name in piece.column_names])
        if ID not in table.column_names:
            table = table.append_column(ID, numbers_from(row - 1, len(table)))
        ids, sequences = (_present(table, name, source) for name in (ID, SEQUENCE))
        if LABEL in table.column_names:
            texts = as_text(table.column(LABEL), f"{source}: the label")
            table = table.set_column(table.column_names.index(LABEL), LABEL, texts)
        yield ProteinBatch(ids, sequences, table.drop_columns([ID, SEQUENCE]), range(row, row + len(table)), "row", ids)
        row += len(table)
    if row == 1:
        raise DataError(f"{source}: it holds no rows")


def _present(table: pa.Table, name: str, where: str) -> pa.Array:
    """The texts of a column; "" where one is missing."""
    return pc.fill_null(as_text(table.column(name), f"{where}: column {name}"), "")


def _layout(opened: ColumnTable, choice: ProteinChoice, where: str) -> dict[str, str]:
    """The columns to read, and the new name of each."""
    names = opened.names
    if choice.ids is not None and choice.id_column is not None:
        raise UsageError(f"--ids {choice.ids}: --id-column {choice.id_column} says where the ids are; give one of them")
    sequence = pick_column(names, choice.sequence_column, SEQUENCE_COLUMNS, where, "--sequence-column")
    if sequence is None:
        raise DataError(
            f"{where}: no sequence column; name it with --sequence-column, the columns are {some_names(names)}"
        )
    if choice.id_column == sequence:
        raise UsageError(
            f"{where}: column {sequence!r} cannot be both the id and the sequence; --ids rows numbers the rows"
        )
    usual = choice.id_column or find_column(names, ID_COLUMNS)
    label = pick_label(names, usual, choice.label_column, where)
    others = [name for name in names if name not in (sequence, choice.label_column)]
    wanted = ColumnChoice(choice.id_column, ids=choice.ids)
    settled, left_out, _ = settle_ids(names, others, opened.texts, wanted, where)
    id_column = None if settled.ids is not None else settled.id_column
    chosen = {name: to for name, to in ((id_column, ID), (sequence, SEQUENCE), (label, LABEL)) if name is not None}
    kept = [name for name in names if name not in left_out]
    if taken := [name for name in kept if name in (ID, SEQUENCE, LABEL, FEATURES) and name not in chosen]:
        raise DataError(f"{where}: column {taken[0]!r} has a name that the features need; rename or remove it")
    return {name: chosen.get(name, name) for name in kept}
