import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import train_test_split

from resvae_ray.data import features as features_module
from resvae_ray.data import features_writer as writer_module
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import DataError, UsageError


def ids_of(path):
    return [name for batch in Features.open(path).ids() for name in batch.to_pylist()]


@pytest.mark.parametrize("rows", [5, 31, 100, 3309])
@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("fraction", [0.2, 0.33])
def test_membership_is_scikit_learns(rows, seed, fraction, make_features, tmp_path):
    path = make_features(rows, 2)
    dataset = split_features(path, tmp_path / "dataset", val_fraction=fraction, seed=seed)
    train, val = train_test_split(np.array(ids_of(path)), test_size=fraction, random_state=seed)
    assert set(ids_of(dataset.path / "train")) == set(train)
    assert set(ids_of(dataset.path / "val")) == set(val)
    assert (dataset.train_rows, dataset.val_rows) == (len(train), len(val))


def test_rows_keep_order_features_and_columns(make_features, tmp_path):
    path = make_features(300, 3)
    dataset = split_features(path, tmp_path / "dataset")
    whole = {row["id"]: row for row in pq.read_table(path).to_pylist()}
    for side in ("train", "val"):
        rows = pq.read_table(dataset.path / side).to_pylist()
        assert rows == [whole[row["id"]] for row in rows]
        assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


def test_features_without_any_other_column(tmp_path):
    rows = "".join(f"p{number},{number},1\n" for number in range(9))
    (tmp_path / "a.csv").write_text("id,f0,f1\n" + rows)
    import_features(tmp_path / "a.csv", tmp_path / "a.parquet")
    dataset = split_features(tmp_path / "a.parquet", tmp_path / "dataset")
    assert sorted(ids_of(dataset.path)) == [f"p{number}" for number in range(9)]


def test_it_does_not_depend_on_how_the_rows_are_stored(make_features, tmp_path, monkeypatch):
    one = split_features(make_features(500, 4), tmp_path / "one")
    monkeypatch.setattr(features_module, "BATCH_BYTES", 16 * 3)
    (tmp_path / "folder").mkdir()
    with monkeypatch.context() as small:
        small.setattr(writer_module, "ROW_GROUP_BYTES", 16 * 7)
        small.setattr(writer_module, "FILE_BYTES", 16 * 70)
        with writer_module.FeaturesWriter(tmp_path / "folder", 4, {}) as writer:
            for batch in Features.open(tmp_path / "features.parquet").batches():
                writer.write(batch)
    assert len(list((tmp_path / "folder").iterdir())) > 5
    many = split_features(tmp_path / "folder", tmp_path / "many")
    assert many.fingerprint == one.fingerprint
    assert ids_of(many.path / "val") == ids_of(one.path / "val")


def test_the_fingerprint_knows_content(make_features, tmp_path):
    first = split_features(make_features(50, 3, "a.parquet"), tmp_path / "a")
    assert split_features(make_features(50, 3, "b.parquet"), tmp_path / "b").fingerprint == first.fingerprint
    assert split_features(make_features(50, 3, "c.parquet", 1), tmp_path / "c").fingerprint != first.fingerprint
    assert split_features(tmp_path / "a.parquet", tmp_path / "d", seed=1).fingerprint != first.fingerprint


def test_dataset_json_records_its_source(make_features, tmp_path):
    path = make_features(50, 3)
    split_features(path, tmp_path / "dataset", val_fraction=0.1, seed=3)
    content = json.loads((tmp_path / "dataset" / "dataset.json").read_text())
    assert content["dim"] == 3
    assert content["split"] == {"rule": "random", "val_fraction": 0.1, "seed": 3}
    assert content["origin"] == str(path)
    assert content["provenance"] == {"model": "SYNTHETIC"}
    assert Dataset.open(tmp_path / "dataset").fingerprint == content["fingerprint"]


def write_with_sequences(path, ids, sequences):
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(len(ids) * 2, dtype=np.float32)), 2)
    pq.write_table(pa.table({"id": ids, "Sequence": sequences, "features": column}), path)


def test_repeated_sequences_are_counted(tmp_path):
    write_with_sequences(tmp_path / "f.parquet", list("abcdefghij"), ["M", "MA"] * 5)
    dataset = split_features(tmp_path / "f.parquet", tmp_path / "dataset")
    assert (dataset.repeated_sequences, dataset.sequences_on_both_sides) == (8, 2)
    together = split_features(tmp_path / "f.parquet", tmp_path / "together", rule="group", by="sequence")
    assert (together.repeated_sequences, together.sequences_on_both_sides) == (8, 0)
    assert (together.train_rows, together.val_rows) == (5, 5)


def test_other_spellings_of_a_sequence_repeat_it(tmp_path):
    write_with_sequences(tmp_path / "f.parquet", list("abcdef"), ["MKV", "mkv*", " M K V", "MA", "ma*", "MA "])
    dataset = split_features(tmp_path / "f.parquet", tmp_path / "d", rule="group", by="sequence", val_fraction=0.5)
    assert (dataset.repeated_sequences, dataset.sequences_on_both_sides) == (4, 0)
    assert ids_of(dataset.path / "val") in (list("abc"), list("def"))


def test_the_published_human_set_repeats_five_sequences(shared, tmp_path):
    import pandas as pd

    table = pd.read_csv(shared / "data" / "human_swiss_train.csv")
    write_with_sequences(tmp_path / "f.parquet", list(table.Entry_ID), list(table.Sequence))
    dataset = split_features(tmp_path / "f.parquet", tmp_path / "d", rule="group", by="sequence")
    assert (dataset.repeated_sequences, dataset.sequences_on_both_sides) == (5, 0)
    assert dataset.val_rows == 1110


@pytest.mark.parametrize(
    ("options", "message"),
    [({"val_fraction": 0}, "--val-fraction 0"), ({"val_fraction": 1.5}, "1.5"), ({"seed": -1}, "--seed -1")],
)
def test_wrong_options(options, message, make_features, tmp_path):
    with pytest.raises(UsageError, match=message):
        split_features(make_features(20, 2), tmp_path / "dataset", **options)


def test_too_few_rows(make_features, tmp_path):
    with pytest.raises(DataError, match="2 rows give 1 for training and 1 for validation"):
        split_features(make_features(2, 2), tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_ids_twice_are_refused(tmp_path):
    write_with_sequences(tmp_path / "f.parquet", ["a", "b", "c", "b"], ["M"] * 4)
    with pytest.raises(DataError, match="id 'b' appears in row 2 and in row 4"):
        split_features(tmp_path / "f.parquet", tmp_path / "dataset")


def test_ids_that_are_missing_are_not_called_repeated(tmp_path):
    write_with_sequences(tmp_path / "f.parquet", pa.array([None] * 4, pa.string()), ["M"] * 4)
    with pytest.raises(DataError, match="row 1: the id is missing"):
        split_features(tmp_path / "f.parquet", tmp_path / "dataset")


def test_a_dataset_that_lost_rows_is_refused(make_dataset):
    path = make_dataset(50)
    table = pq.read_table(path / "train" / "part-00000.parquet")
    pq.write_table(table.slice(1), path / "train" / "part-00000.parquet")
    with pytest.raises(DataError, match="39 rows, but dataset.json says 40"):
        Dataset.open(path)


def test_no_dataset(tmp_path):
    with pytest.raises(DataError, match="not a DATASET"):
        Dataset.open(tmp_path)
