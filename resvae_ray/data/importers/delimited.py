"""CSV, TSV and TXT, also gzipped: a header, an id column, one numbered column a feature.

Columns that are no features stay text exactly as it stands in the file, so that no id or label changes its look.
"""

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from resvae_ray.data.id_column import import_layout
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.schema import FeatureBatch, check_batch, decode
from resvae_ray.data.text_table import TextTable


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The rows of a delimited file, in order.

    Raises:
        DataError: no header, text in a number column, a row of another length, a missing or non-finite value.
    """
    text = TextTable.of(source)
    layout, found = import_layout(text.names, [], text.texts, choice, source)
    numbers, row = set(layout.features), 1
    for piece in text.pieces({name: pa.float32() if name in numbers else pa.string() for name in layout.columns}):
        batch = decode(pa.Table.from_batches([piece]), layout, source, row)
        check_batch(batch, layout.features, source, row)
        row += len(batch)
        yield replace(batch, found=found)
