"""Rows as tensors for training and validation: one interface, decoded once and kept, or streamed from Parquet.

    rows = open_rows(dataset, "train", DataConfig(), device)
    for batch in rows.shuffled(32, seed=0, epoch=1):      # (B, D) float32 on the device
        ...

Every row comes once an epoch. Batch norm needs two rows: where one row would be left over for the last batch, it joins
the batch before, which then has B + 1 rows.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from resvae_ray.config import DataConfig
from resvae_ray.data.dataset import RESIDENT, Dataset, choose_mode
from resvae_ray.data.features import Features, RowGroup, rows_in
from resvae_ray.data.parquet_pieces import parquet_file, reading_parquet
from resvae_ray.data.schema import all_finite, decode_matrix
from resvae_ray.errors import DataError
from resvae_ray.names import TRAIN, VAL
from resvae_ray.seeds import SHUFFLE, derive


class Rows(Protocol):
    """The rows of one side of a DATASET."""

    rows: int
    dim: int

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[torch.Tensor]:
        """Batches (B, D) of one epoch; the order depends on seed and epoch alone."""
        ...

    def in_order(self, block_rows: int) -> Iterator[torch.Tensor]:
        """Blocks (block_rows, D), the last one shorter, in the order of the files."""
        ...

    def blocks(self, block_rows: int, numbers: Sequence[int]) -> Iterator[torch.Tensor]:
        """Some of these blocks, by their ascending numbers from 0. Other rows are not read."""
        ...


def open_rows(dataset: Dataset, side: str, config: DataConfig, device: torch.device | str = "cpu") -> Rows:
    """The rows of `side` ("train" or "val") in the mode that `choose_mode` gives."""
    features = dataset.features(side)
    if choose_mode(dataset, config) == RESIDENT:
        return ResidentRows.decode(features, device)
    return StreamedRows(features, device, rows_in(int(config.shuffle_buffer_mb * 2**20), features.dim))


def open_sides(dataset: Dataset, config: DataConfig, device: torch.device | str = "cpu") -> tuple[Rows, Rows]:
    """The training and the validation rows."""
    return open_rows(dataset, TRAIN, config, device), open_rows(dataset, VAL, config, device)


def mean_row(rows: Rows, block_rows: int) -> torch.Tensor:
    """The mean (D,) of all rows, at least one, read once in blocks.

    Raises:
        DataError: a file has changed since it was opened.
    """
    total = sum(x.sum(0, dtype=torch.float64) for x in rows.in_order(block_rows))
    return (torch.as_tensor(total) / rows.rows).float()


def batch_bounds(rows: int, batch_size: int) -> list[tuple[int, int]]:
    """Where the batches of an epoch begin and end; a single last row belongs to the batch before."""
    starts = list(range(0, rows, batch_size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))


class ResidentRows:
    """All rows in one tensor (rows, D) on the device."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix
        self.rows, self.dim = matrix.shape

    @classmethod
    def decode(cls, features: Features, device: torch.device | str = "cpu") -> "ResidentRows":
        """Decodes all rows once."""
        matrix = np.empty((features.rows, features.dim), dtype=np.float32)
        start = 0
        for batch in features.batches():
            matrix[start : start + len(batch)] = batch.features
            start += len(batch)
        return cls(torch.from_numpy(matrix).to(device))

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[torch.Tensor]:
        """See Rows; the order is a permutation of all rows."""
        order = torch.from_numpy(np.random.default_rng(derive(SHUFFLE, seed, epoch)).permutation(self.rows))
        order = order.to(self.matrix.device)
        for first, stop in batch_bounds(self.rows, batch_size):
            yield self.matrix[order[first:stop]]

    def in_order(self, block_rows: int) -> Iterator[torch.Tensor]:
        """See Rows."""
        yield from self.matrix.split(block_rows)

    def blocks(self, block_rows: int, numbers: Sequence[int]) -> Iterator[torch.Tensor]:
        """See Rows."""
        for number in numbers:
            yield self.matrix[number * block_rows : (number + 1) * block_rows]


class StreamedRows:
    """Rows read from Parquet as they are needed, in memory that does not depend on how many there are.

    An epoch takes the row groups in a random order, in windows of at least `buffer_rows` rows, and shuffles the rows
    of each window. Two rows of distant groups can meet in a batch, since a window's groups come from anywhere.

    Args:
        buffer_rows: rows of a window; the largest part of the memory is a window and one row group.
    """

    def __init__(self, features: Features, device: torch.device | str, buffer_rows: int) -> None:
        self.rows, self.dim = features.rows, features.dim
        self._features, self._device, self._buffer_rows = features, device, buffer_rows
        self._groups = features.groups()

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[torch.Tensor]:
        """See Rows."""
        windows = self._windows(batch_size, seed, epoch)
        pool = np.empty((0, self.dim), dtype=np.float32)
        for number, window in enumerate(windows):
            matrix, order = self._read(window, len(pool)), self._order(window, seed, epoch, number)
            matrix[: len(pool)] = pool
            order = np.concatenate([np.arange(len(pool)), order + len(pool)])
            bounds = batch_bounds(len(order), batch_size)
            if number < len(windows) - 1:
                # Its last rows, one to two batches of them, go to the next window, so that no short batch arises.
                bounds = bounds[: max(0, len(order) // batch_size - 1)]
            for begin, stop in bounds:
                yield torch.from_numpy(matrix[order[begin:stop]]).to(self._device)
            pool = matrix[order[bounds[-1][1] if bounds else 0 :]]

    def in_order(self, block_rows: int) -> Iterator[torch.Tensor]:
        """See Rows."""
        return self.blocks(block_rows, range(-(-self.rows // block_rows)))

    def blocks(self, block_rows: int, numbers: Sequence[int]) -> Iterator[torch.Tensor]:
        """See Rows. Holds one row group beside the block."""
        ends = np.cumsum([group.rows for group in self._groups])
        held, decoded = -1, np.empty((0, self.dim), dtype=np.float32)
        for number in numbers:
            row, stop = number * block_rows, min((number + 1) * block_rows, self.rows)
            parts: list[np.ndarray] = []
            while row < stop:
                position = int(np.searchsorted(ends, row, side="right"))
                if position != held:
                    held, decoded = position, self._decode(self._groups[position])
                begin = row - int(ends[position]) + len(decoded)
                parts.append(decoded[begin : begin + stop - row])
                row += len(parts[-1])
            yield torch.from_numpy(np.concatenate(parts)).to(self._device)

    def _windows(self, batch_size: int, seed: int, epoch: int) -> list[list[RowGroup]]:
        order = np.random.default_rng(derive(SHUFFLE, seed, epoch)).permutation(len(self._groups))
        least = max(self._buffer_rows, 2 * batch_size)
        windows: list[list[RowGroup]] = [[]]
        for position in order:
            if sum(group.rows for group in windows[-1]) >= least:
                windows.append([])
            windows[-1].append(self._groups[position])
        return windows

    @staticmethod
    def _order(window: list[RowGroup], seed: int, epoch: int, number: int) -> np.ndarray:
        rows = sum(group.rows for group in window)
        return np.random.default_rng(derive(SHUFFLE, seed, epoch, number)).permutation(rows)

    def _read(self, window: list[RowGroup], before: int) -> np.ndarray:
        """The rows of a window, after `before` rows left free."""
        matrix = np.empty((before + sum(group.rows for group in window), self.dim), dtype=np.float32)
        for group in window:
            matrix[before : before + group.rows] = self._decode(group)
            before += group.rows
        return matrix

    def _decode(self, group: RowGroup) -> np.ndarray:
        where = f"{group.file}: row group {group.index}"
        source = parquet_file(self._features.filesystem, group.file)
        with reading_parquet(where):
            table = source.read_row_group(group.index, columns=list(self._features.layout.features), use_threads=False)
        matrix = decode_matrix(table, self._features.layout, group.file)
        if matrix.shape != (group.rows, self.dim) or not all_finite(matrix):
            raise DataError(
                f"{where} is not {group.rows} vectors of {self.dim} finite numbers, which it was; the file has changed "
                "while it was read"
            )
        return matrix
