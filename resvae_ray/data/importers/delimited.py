"""CSV, TSV and TXT, also gzipped: a header, an id column, one numbered column per feature; a file, a folder or a glob.

Columns other than features keep their text unchanged, so that ids and labels are preserved exactly. Several files are
one table, in the order of their names; all have the same columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
from pyarrow import fs as pafs

from resvae_ray.data.id_column import import_layout
from resvae_ray.data.importers.parquet import require_order
from resvae_ray.data.layout import FEATURES_COLUMNS, ColumnChoice, Layout, find_column, has_numbered
from resvae_ray.data.schema import FeatureBatch, check_batch, decode, numbers_from
from resvae_ray.data.text_table import TextTable
from resvae_ray.data.vector_columns import text_vectors
from resvae_ray.errors import DataError
from resvae_ray.files.listing import SIGNS, list_files
from resvae_ray.files.place import locate, reaching

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")  # of the files of a folder


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


@dataclass(frozen=True)
class TextSource:
    """Delimited files that are imported as one table.

    Attributes:
        files: as `TextTable.of` opens them.
        found: see `FeatureBatch`.
    """

    source: str
    files: list[str]
    layout: Layout
    found: Mapping[str, str]

    @classmethod
    def open(cls, source: str, choice: ColumnChoice) -> "TextSource":
        """
        Raises:
            DataError: no header, or files with different columns.
        """
        files = delimited_files(source)
        tables = [TextTable.of(file) for file in files]
        for table in tables[1:]:
            for lacking, there in ((table, tables[0]), (tables[0], table)):
                if absent := [name for name in there.names if name not in lacking.names]:
                    raise DataError(f"{lacking.source}: no column {absent[0]!r}, which {there.source} has")

        def texts(name: str) -> Iterator[pa.Array]:
            return (piece for table in tables for piece in table.texts(name))

        layout, found = import_layout(tables[0].names, text_vectors_in(tables[0], choice), texts, choice, source)
        if layout.id is None:
            require_order(files)
        return cls(source, files, layout, found)

    def rows(self, file: str) -> Iterator[FeatureBatch]:
        """The rows of one of the files, in order; see `read`."""
        layout, text, row = self.layout, TextTable.of(file), 1
        numbers = set(layout.features if layout.wide else ())
        for piece in text.pieces({name: pa.float32() if name in numbers else pa.string() for name in layout.columns}):
            batch = decode(pa.Table.from_batches([piece]), layout, file, row)
            check_batch(batch, layout.features if layout.wide else None, file, row)
            row += len(batch)
            yield replace(batch, found=self.found)
        if row == 1:
            raise DataError(f"{file}: it holds no rows")


def delimited_files(source: str) -> list[str]:
    """The files that a source stands for, as `TextTable.of` opens them."""
    filesystem, place = locate(source)
    with reaching(source):
        kind = filesystem.get_file_info(place).type
    if kind == pafs.FileType.File or not (kind == pafs.FileType.Directory or any(sign in source for sign in SIGNS)):
        return [source]
    scheme = f"{source.partition('://')[0]}://" if "://" in source else ""
    return [f"{scheme}{file}" for file in list_files(source, ENDINGS)[1]]


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The rows of delimited files, in order.

    Raises:
        DataError: no header, text in a number column, a row of another length, a missing or non-finite value.
    """
    opened, start = TextSource.open(source, choice), 0
    for file in opened.files:
        for batch in opened.rows(file):
            ids = numbers_from(start, len(batch)) if opened.layout.id is None else batch.ids
            start += len(batch)
            yield replace(batch, ids=ids)
