"""CSV, TSV and TXT, also gzipped, with a header, an id and a sequence column; other columns pass through as text."""

from collections.abc import Iterator

import pyarrow as pa

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
from resvae_ray.data.schema import numbers_from
from resvae_ray.data.text_table import TextTable
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import FEATURES, ID, LABEL, SEQUENCE


def read(source: str, choice: ProteinChoice) -> Iterator[ProteinBatch]:
    """The proteins of a table, in order.

    Raises:
        UsageError: a column that was chosen is not there.
        DataError: no such file, no header, no id or sequence column, a row of another length, no rows.
    """
    text = TextTable.of(source)
    names = text.names
    require_distinct(names, source)
    layout = _layout(text, choice, source)
    row = 1
    for piece in text.pieces(dict.fromkeys(layout, pa.string())):
        table = pa.Table.from_batches([piece]).rename_columns([layout[name] for name in piece.schema.names])
        if ID not in table.column_names:
            table = table.append_column(ID, numbers_from(row - 1, len(table)))
        ids = table.column(ID).combine_chunks()
        yield ProteinBatch(
            ids,
            table.column(SEQUENCE).combine_chunks(),
            table.drop_columns([ID, SEQUENCE]),
            range(row, row + len(table)),
            "row",
            ids,
        )
        row += len(table)
    if row == 1:
        raise DataError(f"{source}: it holds no rows")


def _layout(text: TextTable, choice: ProteinChoice, where: str) -> dict[str, str]:
    """The columns to read, and the new name of each."""
    names = text.names
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
    others = [name for name in names if name not in (sequence, label)]
    wanted = ColumnChoice(choice.id_column, ids=choice.ids)
    settled, left_out, _ = settle_ids(names, others, text.texts, wanted, where)
    id_column = None if settled.ids is not None else settled.id_column
    chosen = {name: to for name, to in ((id_column, ID), (sequence, SEQUENCE), (label, LABEL)) if name is not None}
    kept = [name for name in names if name not in left_out]
    if taken := [name for name in kept if name in (ID, SEQUENCE, LABEL, FEATURES) and name not in chosen]:
        raise DataError(f"{where}: column {taken[0]!r} has a name that the features need; rename or remove it")
    return {name: chosen.get(name, name) for name in kept}
