"""epochs.jsonl: a line of JSON per epoch that a training reported. It is written as it happens and read only once.

A later line replaces an earlier one of the same training and epoch: a training that was killed repeats its last epochs.
`EpochReader` keeps the few columns that tables and status need, and after that reads only what was appended. All
columns of a line are parsed on access to `Curve.rows`.
"""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import json as pajson

from resvae_ray import names
from resvae_ray.errors import DataError
from resvae_ray.search.run.appended_lines import AppendedLines

COUNTED = (names.REPEAT, names.NUMBER, names.EPOCH)  # of an epoch's row, whole numbers; only finalists have the first
MEASURED = (names.VAL_LOSS, names.SECONDS, names.TIME)  # in every row
BRIEF = pa.schema(
    [(name, pa.int64()) for name in COUNTED] + [(name, pa.float64()) for name in MEASURED] + [(names.NODE, pa.string())]
)
BLOCK_BYTES = 4 << 20
LARGEST = 2**63  # a whole number from here on is not one that a search wrote

EpochRow = dict[str, Any]
Key = tuple[int, int | None]  # a training: the number of its trial, and which retraining of it


@dataclass(frozen=True)
class Curve:
    """The epochs that a training reported, in order, each once. All lists have one entry per epoch.

    Attributes:
        epochs: from 1.
        losses: validation losses.
        seconds: the duration of each epoch.
        times: of the report, in seconds since 1970.
        nodes: where it was trained.
        read_rows: gives `rows`.
    """

    epochs: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    nodes: list[str | None] = field(default_factory=list)
    read_rows: Callable[[], list[EpochRow]] = field(default=list, compare=False, repr=False)

    @classmethod
    def of(cls, rows: Sequence[EpochRow]) -> "Curve":
        """The curve of rows as epochs.jsonl has them, by epoch."""
        return cls(
            [row[names.EPOCH] for row in rows],
            [row[names.VAL_LOSS] for row in rows],
            [row[names.SECONDS] for row in rows],
            [row[names.TIME] for row in rows],
            [row[names.NODE] for row in rows],
            lambda: list(rows),
        )

    def followed_by(self, later: "Curve") -> "Curve":
        """The curve of two parts of one training. If both have an epoch, the later report counts."""
        epochs, losses, seconds, times, nodes = _joined(self, later.lists())
        return Curve(epochs, losses, seconds, times, nodes, lambda: _joined_rows(self, later))

    def lists(self) -> Sequence[list[Any]]:
        """All columns."""
        return self.epochs, self.losses, self.seconds, self.times, self.nodes

    @cached_property
    def rows(self) -> list[EpochRow]:
        """All that was reported, as epochs.jsonl has it."""
        return self.read_rows()

    @cached_property
    def best(self) -> int | None:
        """The index of the lowest validation loss in the lists."""
        return min(range(len(self.losses)), key=self.losses.__getitem__, default=None)

    @property
    def best_val_loss(self) -> float | None:
        """The lowest validation loss."""
        return None if self.best is None else self.losses[self.best]

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the lowest validation loss."""
        return None if self.best is None else self.epochs[self.best]

    @property
    def last_epoch(self) -> int:
        """The last epoch reported; 0 before the first report."""
        return self.epochs[-1] if self.epochs else 0

    @property
    def node(self) -> str | None:
        """The node of the last epoch."""
        return self.nodes[-1] if self.nodes else None

    @cached_property
    def total_seconds(self) -> float:
        """The seconds of all epochs."""
        return sum(self.seconds)


class EpochReader:
    """Reads an epochs.jsonl that another process, or this one, may be writing.

    Attributes:
        curves: of each training that has reported.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._appended = path, AppendedLines(path, self._forget)
        self._forget()

    def _forget(self) -> None:
        self.curves: dict[Key, Curve] = {}
        self._lines = 0
        self._rows: tuple[int, dict[Key, list[EpochRow]]] = (-1, {})

    def refresh(self) -> set[Key]:
        """Reads what was appended since the last call; the trainings that it belongs to.

        Raises:
            DataError: a line is damaged.
        """
        content = self._appended.read()
        if not content:
            return set()
        columns = _fast(content) or _slow(content, self._path, self._lines)
        changed = self._add(columns)
        self._appended.take(content)
        self._lines += content.count(b"\n")
        return changed

    def _add(self, columns: "_Columns") -> set[Key]:
        changed = set()
        for key, new in columns.curves():
            known = self.curves.get(key)
            self.curves[key] = self._curve(key, _joined(known, new) if known else new)
            changed.add(key)
        return changed

    def _curve(self, key: Key, lists: Sequence[list[Any]]) -> Curve:
        epochs, losses, seconds, times, nodes = lists
        return Curve(epochs, losses, seconds, times, nodes, lambda: self._rows_of(key))

    def _rows_of(self, key: Key) -> list[EpochRow]:
        if self._rows[0] != self._appended.taken:
            found: dict[Key, list[EpochRow]] = {}
            for row in read_epochs(self._path):
                found.setdefault((row[names.NUMBER], row.get(names.REPEAT)), []).append(row)
            self._rows = (self._appended.taken, found)
        return self._rows[1].get(key, [])


def read_epochs(path: Path) -> list[EpochRow]:
    """The epochs reported, by trial, retraining and epoch; of an epoch that was repeated, the last report.

    Raises:
        DataError: a line is damaged.
    """
    content = path.read_bytes() if path.exists() else b""
    rows: dict[tuple[int, int, int], EpochRow] = {}
    for row in _parsed_lines(content[: content.rfind(b"\n") + 1], path, 0):
        repeat = row.get(names.REPEAT)
        rows[row[names.NUMBER], -1 if repeat is None else repeat, row[names.EPOCH]] = row
    return [rows[key] for key in sorted(rows)]


@dataclass(frozen=True)
class _Columns:
    """Lines in the order of the file, N of them: whole numbers (N, 3) of COUNTED, with -1 for no retraining."""

    counted: np.ndarray
    measured: list[list[float]]
    nodes: list[str | None]

    def curves(self) -> Iterable[tuple[Key, list[list[Any]]]]:
        """The lists of a `Curve` per training."""
        repeat, number, epoch = self.counted.T
        order = np.lexsort((epoch, repeat, number))  # stable: of equal keys, the last line comes last
        ordered = self.counted[order]
        last = np.append((ordered[1:] != ordered[:-1]).any(axis=1), True)
        kept, ordered = order[last], ordered[last]
        begins = np.flatnonzero(np.append(True, (ordered[1:, :2] != ordered[:-1, :2]).any(axis=1))).tolist()
        losses, seconds, times = ([column[at] for at in kept.tolist()] for column in self.measured)
        nodes, rows = [self.nodes[at] for at in kept.tolist()], ordered.tolist()
        for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True):
            key = (rows[begin][1], None if rows[begin][0] < 0 else rows[begin][0])
            epochs = [row[2] for row in rows[begin:end]]
            yield key, [epochs, losses[begin:end], seconds[begin:end], times[begin:end], nodes[begin:end]]


def _fast(content: bytes) -> _Columns | None:
    """The columns by Arrow's parser; None where it does not find what is expected in each line."""
    options = pajson.ParseOptions(explicit_schema=BRIEF, unexpected_field_behavior="ignore")
    try:
        table = pajson.read_json(io.BytesIO(content), pajson.ReadOptions(block_size=BLOCK_BYTES), options)
    except (pa.ArrowException, ValueError):
        return None
    required = (names.NUMBER, names.EPOCH, *MEASURED, names.NODE)
    if len(table) != content.count(b"\n") or any(table[name].null_count for name in required):
        return None
    counted = np.stack([_numbers(table[name], np.int64) for name in COUNTED], axis=1)
    measured = [_numbers(table[name], np.float64).tolist() for name in MEASURED]
    return _Columns(counted, measured, table[names.NODE].to_pylist())


def _numbers(column: pa.ChunkedArray, kind: type[np.number]) -> np.ndarray:
    """The values of a column, -1 for null. Arrow's own conversions import pandas, which takes longer than all this."""
    parts = [np.empty(0, kind)]
    for chunk in column.chunks:
        valid, content = chunk.buffers()
        values = np.frombuffer(content, kind)[chunk.offset : chunk.offset + len(chunk)]
        if chunk.null_count:
            bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
            values = np.where(bits[chunk.offset : chunk.offset + len(chunk)], values, -1)
        parts.append(values)
    return np.concatenate(parts)


def _slow(content: bytes, path: Path, before: int) -> _Columns:
    """The same by Python's parser, which says which line is damaged.

    Args:
        before: the number of lines before `content`.
    """
    rows = list(_parsed_lines(content, path, before))
    counted = [[-1 if row.get(name) is None else row[name] for name in COUNTED] for row in rows]
    measured = [[row[name] for row in rows] for name in MEASURED]
    return _Columns(np.array(counted, dtype=np.int64).reshape(-1, 3), measured, [row[names.NODE] for row in rows])


def _parsed_lines(content: bytes, path: Path, before: int) -> Iterable[EpochRow]:
    for number, line in enumerate(content.split(b"\n")[:-1], before + 1):
        yield _parsed(line, f"{path}: line {number}")


def _parsed(line: bytes, where: str) -> EpochRow:
    """
    Raises:
        DataError: the line is damaged.
    """
    try:
        row = json.loads(line)
        whole = isinstance(row, dict) and all(_is_whole(row.get(name, 0)) for name in COUNTED)
        if (
            whole
            and names.NODE in row
            and all(isinstance(row[name], float | int) for name in (*COUNTED[1:], *MEASURED))
        ):
            return row
    except (ValueError, KeyError, RecursionError):
        pass
    raise DataError(f"{where}: damaged line; remove it to continue without that epoch's record")


def _is_whole(value: object) -> bool:
    return type(value) is int and abs(value) < LARGEST


def _joined(known: Curve, new: Sequence[list[Any]]) -> Sequence[list[Any]]:
    """The lists of a curve and of later lines of the same training."""
    old = known.lists()
    if known.last_epoch < new[0][0]:
        return [before + after for before, after in zip(old, new, strict=True)]
    rows = {row[0]: row for lists in (old, new) for row in zip(*lists, strict=True)}
    return [list(column) for column in zip(*(rows[epoch] for epoch in sorted(rows)), strict=True)]


def _joined_rows(known: Curve, later: Curve) -> list[EpochRow]:
    rows = {row[names.EPOCH]: row for row in (*known.rows, *later.rows)}
    return [rows[epoch] for epoch in sorted(rows)]
