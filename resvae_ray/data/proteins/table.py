"""CSV, TSV and TXT, also gzipped, with a header, an id and a sequence column; other columns pass through as text."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from resvae_ray.data.layout import ID_COLUMNS, INDEX_COLUMNS, SEQUENCE_COLUMNS, pick_column, pick_label, some_names
from resvae_ray.data.proteins.batch import ProteinBatch, ProteinChoice
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
    layout = _layout(names, choice, source)
    row = 1
    for piece in text.pieces(dict.fromkeys(names, pa.string())):
        table = pa.Table.from_batches([piece]).rename_columns([layout[name] for name in names])
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


def _layout(names: Sequence[str], choice: ProteinChoice, where: str) -> dict[str, str]:
    """What each column is to be called."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{where}: two columns are called {repeated[0]!r}; column names must differ")
    id_column = pick_column(names, choice.id_column, ID_COLUMNS + INDEX_COLUMNS, where, "--id-column")
    sequence = pick_column(names, choice.sequence_column, SEQUENCE_COLUMNS, where, "--sequence-column")
    label = pick_label(names, id_column, choice.label_column, where)
    for what, column in ((ID, id_column), (SEQUENCE, sequence)):
        if column is None:
            raise DataError(
                f"{where}: no {what} column; name it with --{what}-column, the columns are {some_names(names)}"
            )
    if id_column == sequence:
        raise UsageError(f"{where}: column {sequence!r} cannot be both the id and the sequence")
    chosen = {id_column: ID, sequence: SEQUENCE, label: LABEL}
    if taken := [name for name in names if name in (ID, SEQUENCE, LABEL, FEATURES) and name not in chosen]:
        raise DataError(f"{where}: column {taken[0]!r} has a name that the features need; rename or remove it")
    return {name: chosen.get(name, name) for name in names}
