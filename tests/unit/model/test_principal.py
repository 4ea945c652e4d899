"""Principal components of training rows, wherever the rows are."""

import numpy as np
import pyarrow.parquet as pq

from resvae_ray.config import TrainingConfig
from resvae_ray.data.features import Features
from resvae_ray.data.stream import ResidentRows, StreamedRows
from resvae_ray.model import principal
from resvae_ray.model.principal import metric_for, principal_components

RECIPE = TrainingConfig(beta="auto")


def test_the_sample_and_the_metric_are_the_same_in_memory_and_streamed(make_features, monkeypatch):
    """A trial that runs out of memory streams its rows. Its loss is compared with those of the other trials."""
    monkeypatch.setattr(principal, "MOST_ROWS", 60)
    path = make_features(500, 6)
    pq.write_table(pq.read_table(path), path, row_group_size=50)
    stored = Features.open(path)
    both = ResidentRows.decode(stored), StreamedRows(stored, "cpu", 100)
    one, other = map(principal_components, both)
    np.testing.assert_array_equal(one.directions, other.directions)
    assert one.total == other.total
    assert metric_for(RECIPE, both[0]) == metric_for(RECIPE, both[1])


def test_of_a_large_set_only_the_row_groups_of_the_sample_are_read(make_features, monkeypatch):
    monkeypatch.setattr(principal, "MOST_ROWS", 20)
    path = make_features(2000, 6)
    pq.write_table(pq.read_table(path), path, row_group_size=10)
    rows, read = StreamedRows(Features.open(path), "cpu", 100), []
    decode = rows._decode
    monkeypatch.setattr(rows, "_decode", lambda group: read.append(group) or decode(group))
    assert principal_components(rows).rows == 20
    assert 1 < len(read) <= 20
