import itertools

import numpy as np
import pytest
import torch

from resvae_ray.config import DataConfig
from resvae_ray.data import features_writer as writer_module
from resvae_ray.data.dataset import Dataset, choose_mode
from resvae_ray.data.stream import ResidentRows, StreamedRows, batch_bounds, mean_row, open_rows

DIM = 4


@pytest.fixture
def features(make_dataset, monkeypatch):
    """80 training rows in row groups of 7 and files of about 30."""
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 4 * DIM * 7)
    monkeypatch.setattr(writer_module, "FILE_BYTES", 4 * DIM * 30)
    return Dataset.open(make_dataset(100, DIM)).features("train")


@pytest.fixture(params=["resident", "stream", "one window"])
def rows(request, features):
    if request.param == "resident":
        return ResidentRows.decode(features)
    return StreamedRows(features, "cpu", 20 if request.param == "stream" else 1000)


def all_rows(features):
    return np.concatenate([batch.features for batch in features.batches()])


def as_set(matrix):
    return sorted(map(tuple, np.asarray(matrix)))


class TestRowsConformance:
    def test_every_row_once_an_epoch(self, rows, features):
        for batch_size in (2, 3, 8, 9, 79, 80, 200):
            epoch = torch.cat(list(rows.shuffled(batch_size, seed=0, epoch=1)))
            assert as_set(epoch) == as_set(all_rows(features))

    def test_batches_have_the_size_and_the_last_one_is_never_a_single_row(self, rows):
        for batch_size, last in ((8, 8), (7, 3), (79, 80), (32, 16), (3, 2)):
            sizes = [len(batch) for batch in rows.shuffled(batch_size, seed=0, epoch=1)]
            assert set(sizes[:-1]) <= {batch_size}
            assert sizes[-1] == last

    def test_the_order_depends_on_seed_and_epoch_alone(self, rows):
        def order(seed, epoch):
            return torch.cat(list(rows.shuffled(8, seed, epoch)))

        assert torch.equal(order(0, 1), order(0, 1))
        assert not torch.equal(order(0, 1), order(0, 2))
        assert not torch.equal(order(0, 1), order(1, 1))

    @pytest.mark.parametrize("block", [1, 16, 30, 500])
    def test_in_order(self, rows, features, block):
        blocks = list(rows.in_order(block))
        assert {len(part) for part in blocks[:-1]} <= {block}
        np.testing.assert_array_equal(torch.cat(blocks), all_rows(features))

    @pytest.mark.parametrize("block", [1, 5, 16])
    def test_some_blocks(self, rows, features, block):
        last = (rows.rows - 1) // block
        found = list(rows.blocks(block, [1, 2, last]))
        expected = [all_rows(features)[number * block : (number + 1) * block] for number in (1, 2, last)]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("block", [1, 16, 500])
    def test_the_mean_is_that_of_all_rows(self, rows, features, block):
        expected = all_rows(features).astype(np.float64).mean(0).astype(np.float32)
        np.testing.assert_array_equal(mean_row(rows, block), expected)


def test_a_stream_mixes_rows_of_distant_groups(features):
    rows = StreamedRows(features, "cpu", 20)
    place = {tuple(row): number for number, row in enumerate(all_rows(features))}
    batch = next(iter(rows.shuffled(8, seed=0, epoch=1)))
    groups = {place[tuple(row.tolist())] // 7 for row in batch}
    assert len(groups) > 1


def test_a_stream_holds_no_more_than_its_window(make_dataset, monkeypatch):
    """Memory is that of a window, whatever the size of the set."""
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 4 * DIM * 10)
    largest = []
    read = StreamedRows._read
    monkeypatch.setattr(StreamedRows, "_read", lambda *args: largest.append(len(m := read(*args))) or m)
    for rows in (200, 2000):
        largest.clear()
        stream = StreamedRows(Dataset.open(make_dataset(rows, DIM, f"d{rows}")).features("train"), "cpu", 50)
        assert sum(len(batch) for batch in stream.shuffled(8, 0, 1)) == rows * 0.8
        assert max(largest) <= 50 + 10 + 2 * 8


def test_auto_goes_by_the_budget(make_dataset):
    dataset = Dataset.open(make_dataset(100, DIM))
    size_mb = 100 * DIM * 4 / 2**20
    assert choose_mode(dataset, DataConfig(resident_budget_mb=size_mb)) == "resident"
    assert choose_mode(dataset, DataConfig(resident_budget_mb=size_mb * 0.99)) == "stream"
    assert choose_mode(dataset, DataConfig(mode="stream")) == "stream"
    assert isinstance(open_rows(dataset, "val", DataConfig(mode="stream")), StreamedRows)


@pytest.mark.parametrize("rows", [2, 31, 32, 33, 64, 65, 1000])
def test_bounds_cover_all_rows(rows):
    bounds = batch_bounds(rows, 32)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == rows
    assert all(stop - start >= 2 for start, stop in bounds)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
