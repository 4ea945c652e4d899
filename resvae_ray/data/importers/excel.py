"""XLSX: a header, an id column, one numbered column per feature, in one sheet of a workbook.

All other columns become text; see workbook.py for ids that Excel has changed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from resvae_ray.data.features import batch_rows
from resvae_ray.data.id_column import import_layout
from resvae_ray.data.importers.arrays import as_batch
from resvae_ray.data.layout import FEATURES_COLUMNS, ColumnChoice, Layout, find_column, has_numbered
from resvae_ray.data.schema import FeatureBatch, check_batch, vector_matrix
from resvae_ray.data.vector_columns import text_vectors
from resvae_ray.data.workbook import IdCells, cell_texts, open_sheet, value_text
from resvae_ray.errors import DataError
from resvae_ray.names import ID, LABEL


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The rows of the chosen sheet or the first, in order. Rows are counted from 1 below the header.

    Raises:
        DataError: not a workbook, no header, an id that Excel has changed, a cell without a number, a blank row.
        UsageError: openpyxl is not installed; a sheet or column that the user named is not there.
    """
    with open_sheet(source, choice.sheet) as sheet:
        names = sheet.names
        layout, of_ids = import_layout(names, _vectors(names, sheet.texts, choice), sheet.texts, choice, source)
        table = _Table(layout, names, source, {"sheet": sheet.title, **of_ids})
        for start, cells in _stacks(sheet.rows(), batch_rows(len(layout.features))):
            batch = table.batch(cells, start)
            check_batch(batch, layout.features if layout.wide else None, source, start + 1)
            yield batch


def _vectors(names: list[str], texts: Callable[[str], Iterator[pa.Array]], choice: ColumnChoice) -> list[str]:
    """The columns that hold vectors as text; none if columns are numbered, unless one has a usual name."""
    if has_numbered(names) and choice.features_column is None:
        names = [name for name in names if find_column([name], FEATURES_COLUMNS)]
    return text_vectors(
        names, lambda name: next(iter(next(texts(name), pa.array([""]))), pa.scalar("")).as_py(), choice
    )


def _stacks(rows: Iterator[list[Any]], most: int) -> Iterator[tuple[int, list[Sequence[Any]]]]:
    """The rows in stacks of `most` at most, each with the number of rows before it."""
    start, stack = 0, []
    for line in rows:
        stack.append(line)
        if len(stack) == most:
            yield start, stack
            start, stack = start + len(stack), []
    if stack:
        yield start, stack


class _Table:
    """The sheet's columns, and how its cells become FEATURES."""

    def __init__(self, layout: Layout, names: list[str], source: str, found: dict[str, str]) -> None:
        self.layout, self.source, self.found = layout, source, found
        self.place = {name: position for position, name in enumerate(names)}
        self.positions = [self.place[name] for name in layout.features]
        self.ids = IdCells(source, layout.id or "")

    def batch(self, lines: list[Sequence[Any]], start: int) -> FeatureBatch:
        """Rows of cells as FEATURES; `start` rows come before them."""
        columns = {}
        if self.layout.id is not None:
            columns[ID] = self.ids.texts(self._cells(lines, self.layout.id), start + 1)
        if self.layout.label is not None:
            columns[LABEL] = cell_texts(self._cells(lines, self.layout.label))
        columns |= {name: cell_texts(self._cells(lines, name)) for name in self.layout.others}
        if self.layout.wide:
            matrix = np.array([self._numbers(line, start + row) for row, line in enumerate(lines, 1)], np.float64)
        else:
            name = self.layout.features[0]
            matrix = vector_matrix(cell_texts(self._cells(lines, name)), name, self.source, start + 1)
        return as_batch(matrix, start, columns, self.source, self.found)

    def _cells(self, lines: list[Sequence[Any]], name: str) -> list[Any]:
        return [line[self.place[name]] for line in lines]

    def _numbers(self, line: Sequence[Any], row: int) -> list[float]:
        values = [line[position].value for position in self.positions]
        if not {*map(type, values)} <= {int, float}:
            wrong = next(n for n, value in enumerate(values) if type(value) not in (int, float))
            what = "the value is missing" if values[wrong] is None else f"{value_text(values[wrong])!r} is not a number"
            raise DataError(f"{self.source}: row {row}, column {self.layout.features[wrong]}: {what}")
        return values  # pyright: ignore[reportReturnType]
