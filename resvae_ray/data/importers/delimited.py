"""CSV, TSV and TXT, also gzipped: a header, an id column, one numbered column per feature.

Columns other than features keep their text unchanged, so that ids and labels are preserved exactly.
"""

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from resvae_ray.data.id_column import import_layout
from resvae_ray.data.layout import FEATURES_COLUMNS, ColumnChoice, find_column, has_numbered
from resvae_ray.data.schema import FeatureBatch, check_batch, decode
from resvae_ray.data.text_table import TextTable
from resvae_ray.data.vector_columns import text_vectors


def text_vectors_in(text: TextTable, choice: ColumnChoice) -> list[str]:
    """The columns of a table that hold vectors as text; those of unusual names only if no columns are numbered."""
    fields = dict(zip(text.names, text.fields, strict=False))

    def first(name: str) -> str | None:
        if fields:
            return fields.get(name)
        # A vector of many thousands of numbers is too long for the first look at the line.
        return next((value for piece in text.texts(name) for value in piece[:1].to_pylist()), None)

    found = text_vectors(text.names, first, choice)
    usual = find_column(found, FEATURES_COLUMNS) is not None or choice.features_column is not None
    return found if usual or not has_numbered(text.names) else []


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The rows of a delimited file, in order.

    Raises:
        DataError: no header, text in a number column, a row of another length, a missing or non-finite value.
    """
    text = TextTable.of(source)
    layout, found = import_layout(text.names, text_vectors_in(text, choice), text.texts, choice, source)
    numbers, row = set(layout.features if layout.wide else ()), 1
    for piece in text.pieces({name: pa.float32() if name in numbers else pa.string() for name in layout.columns}):
        batch = decode(pa.Table.from_batches([piece]), layout, source, row)
        check_batch(batch, layout.features if layout.wide else None, source, row)
        row += len(batch)
        yield replace(batch, found=found)
