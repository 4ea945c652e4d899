"""FEATURES in shards, and files of a few rows."""

import pytest
from shard_files import DIM, write_shard

from resvae_ray.data import features as features_module
from resvae_ray.data import features_writer


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Files of 12 rows in row groups of 3, read 5 rows at a time."""
    monkeypatch.setattr(features_writer, "ROW_GROUP_BYTES", 4 * DIM * 3)
    monkeypatch.setattr(features_writer, "FILE_BYTES", 4 * DIM * 11)
    monkeypatch.setattr(features_module, "BATCH_BYTES", 4 * DIM * 5)


@pytest.fixture
def shards(tmp_path):
    """100 rows in three files, the second of which is empty."""
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards" / "a.parquet", 0, 40)
    write_shard(tmp_path / "shards" / "b.parquet", 40, 0)
    write_shard(tmp_path / "shards" / "c.parquet", 40, 60)
    return tmp_path / "shards"
