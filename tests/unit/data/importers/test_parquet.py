"""Folders as Hugging Face's `datasets` and its hub keep them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resvae_ray.data.importers import import_features
from resvae_ray.errors import DataError


@pytest.fixture
def shard(tmp_path):
    def shard(name, ids, labels=None, described=None):
        path = tmp_path / "data" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        columns = {"id": ids, "embedding": pa.array([[1.0, 2.0]] * len(ids), pa.list_(pa.float64()))}
        if labels is not None:
            columns["label"] = pa.array(labels, pa.int64())
        metadata = {"huggingface": json.dumps({"info": {"features": described or {}}})}
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
        return path

    return shard


def imported(source, tmp_path):
    summary = import_features(source, tmp_path / "out.parquet")
    return summary, pq.read_table(tmp_path / "out.parquet")


def test_all_splits_are_read_in_the_order_of_their_names(shard, tmp_path):
    shard("train-00001-of-00002.parquet", ["c"])
    shard("train-00000-of-00002.parquet", ["b"])
    shard("test-00000-of-00001-0a1b2c3d.parquet", ["a"])
    (tmp_path / "data" / "README.md").touch()
    summary, table = imported(tmp_path / "data", tmp_path)
    assert table.column("id").to_pylist() == ["a", "b", "c"]
    assert summary.found["splits"] == "test, train"


def test_a_missing_shard_is_detected(shard, tmp_path):
    shard("train-00000-of-00003.parquet", ["a"])
    shard("train-00002-of-00003.parquet", ["c"])
    with pytest.raises(DataError, match=r"train-00001-of-00003.parquet is missing, 2 of 3 shards are there"):
        imported(tmp_path / "data", tmp_path)
    assert imported(f"{tmp_path}/data/*.parquet", tmp_path)[0].rows == 2


def test_an_id_in_two_splits_is_refused(shard, tmp_path):
    shard("train-00000-of-00001.parquet", ["a"])
    shard("test-00000-of-00001.parquet", ["a"])
    with pytest.raises(DataError, match="id 'a' appears in row 1 and in row 2"):
        imported(tmp_path / "data", tmp_path)


def test_labels_that_are_numbers_with_names_become_the_names(shard, tmp_path):
    described = {"label": {"names": ["cytosol", "nucleus"], "_type": "ClassLabel"}}
    shard("train-00000-of-00001.parquet", list("abcd"), [1, 0, -1, None], described)
    assert imported(tmp_path / "data", tmp_path)[1].column("label").to_pylist() == ["nucleus", "cytosol", None, None]


def test_a_label_without_a_name_is_refused(shard, tmp_path):
    described = {"label": {"names": ["cytosol"], "_type": "ClassLabel"}}
    shard("train-00000-of-00001.parquet", ["a"], [3], described)
    with pytest.raises(DataError, match="label 3 has no name among the 1 that the file describes"):
        imported(tmp_path / "data", tmp_path)


@pytest.mark.parametrize("described", [{"label": {"dtype": "int64", "_type": "Value"}}, {"label": 3}, None])
def test_other_labels_stay(shard, tmp_path, described):
    shard("train-00000-of-00001.parquet", ["a"], [3], described)
    assert imported(tmp_path / "data", tmp_path)[1].column("label").to_pylist() == ["3"]


def test_provenance_stays_with_the_features(make_features, tmp_path):
    source = make_features(5, 3)
    import_features(source, tmp_path / "a.parquet", describe={"layer": "33"})
    described = json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"resvae_ray"])
    assert described == {"model": "SYNTHETIC", "source": "features.parquet", "layer": "33"}


def test_a_folder_without_features_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data-00000-of-00001.arrow").touch()
    with pytest.raises(
        DataError, match=r"in: a folder without .parquet, .pt, .npy, .csv, .csv.gz, .tsv, .tsv.gz files"
    ):
        imported(tmp_path / "in", tmp_path)
