"""Files in a bucket, on a real S3 server: found, written whole or not at all, and errors in one line."""

import os
import time

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from resvae_ray.cli import main
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.files import s3
from resvae_ray.files.atomic import read_json
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import BucketPlace, place
from resvae_ray.model import pretrained as bundle
from resvae_ray.model.network import ResVAE
from resvae_ray.model.pretrained import read_model_config


def test_a_place_has_the_interface_of_a_path(bucket, tmp_path):
    for root in (place(f"{bucket}/a/"), place(tmp_path / "a")):
        file = root / "b.json"
        assert not root.exists()
        assert not file.exists()
        file.write_json({"x": 1})
        assert read_json(file) == {"x": 1}
        assert (file.is_file(), file.is_dir(), root.is_file(), root.is_dir()) == (True, False, False, True)
        assert (file.name, file.suffix, str(file.with_name("c"))) == ("b.json", ".json", f"{root}/c")
        assert locate_again(file) == {"x": 1}
        root.remove_folder()
        assert not root.exists()
        with pytest.raises(DataError, match="b.json: no such file"):
            read_json(file)
    (tmp_path / "x").touch()
    assert place((tmp_path / "x").as_uri()) == tmp_path / "x"


def locate_again(file):
    return read_json(place(str(file)))


def test_a_failed_write_leaves_the_old_file(bucket):
    target = place(f"{bucket}/a.json")
    target.write_json(1)
    with pytest.raises(KeyboardInterrupt), target.staged_file() as staging:
        staging.write_text("half")
        raise KeyboardInterrupt
    assert read_json(target) == 1
    assert list(BucketPlace(bucket).files()) == ["a.json"]


def test_a_failed_folder_leaves_nothing(bucket):
    with pytest.raises(RuntimeError), place(f"{bucket}/out").staged_folder() as staging:
        (staging / "file").write_text("half")
        raise RuntimeError
    assert not BucketPlace(bucket).files()


def test_a_folder_is_not_read_before_it_is_all_there(bucket, make_features, monkeypatch):
    """At every moment of the upload, what there is of it is refused; what makes it a DATASET comes last."""
    target, seen = f"{bucket}/dataset", []
    original = BucketPlace.upload

    def upload(to, source):
        seen.append(to.name)
        with pytest.raises(DataError, match="not a DATASET"):
            Dataset.open(target)
        if to.name != "part-00000.parquet" or len(seen) > 1:
            with pytest.raises(DataError, match="is being written, or was when that was interrupted"):
                Features.open(target)
        original(to, source)

    monkeypatch.setattr(BucketPlace, "upload", upload)
    split_features(make_features(), target)
    assert seen == ["part-00000.parquet", "part-00000.parquet", "dataset.json"]
    assert Features.open(target).rows == 60
    assert "_uploading" not in BucketPlace(target).files()


def test_leftovers_of_an_interrupted_upload_are_named_and_not_mixed(bucket, make_features, monkeypatch):
    target = f"{bucket}/dataset"

    def fail(to, source):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(BucketPlace, "upload", fail)
        split_features(make_features(), target)
    with pytest.raises(UsageError, match="interrupted; remove it to begin anew"):
        split_features(make_features(), target)
    place(target).remove_folder()
    assert split_features(make_features(), target).train_rows == 48


def test_existing_files_are_not_overwritten(bucket, make_features):
    path = make_features()
    for target in (f"{bucket}/features.parquet", f"{bucket}/features"):
        import_features(path, target)
        with pytest.raises(UsageError, match="already there"):
            import_features(path, target)


def test_features_dataset_and_model_are_those_of_a_disk(bucket, make_features, tmp_path):
    path = make_features(100, 6)
    places = {}
    for root in (bucket, str(tmp_path)):
        import_features(path, f"{root}/f.parquet")
        places[root] = split_features(f"{root}/f.parquet", f"{root}/d")
    here, there = places[str(tmp_path)], places[bucket]
    assert (here.fingerprint, here.train_rows) == (there.fingerprint, there.train_rows)
    assert here.features("val").path == str(tmp_path / "d" / "val")
    assert there.features("val").path == f"{bucket}/d/val"
    (remote_file,) = there.features("train").files
    (local_file,) = here.features("train").files
    assert pq.read_table(remote_file, filesystem=there.features("train").filesystem).equals(pq.read_table(local_file))
    torch.manual_seed(0)
    model = ResVAE(6, 8, 3)
    saved = [model.save_pretrained(f"{root}/model", {"a": 1}) for root in (bucket, tmp_path)]
    assert sorted(saved[0].files()) == sorted(file.name for file in saved[1].iterdir())
    assert read_model_config(place(f"{bucket}/model")) == read_model_config(place(tmp_path / "model"))
    for name, tensor in ResVAE.from_pretrained(f"{bucket}/model").state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
    with place(f"{bucket}/model/model.safetensors").local_copy() as copy:
        weights = safetensors.torch.load_file(copy)
    assert not copy.exists()
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_a_model_that_is_replaced_while_it_is_read_is_refused(bucket, monkeypatch):
    model = ResVAE(6, 8, 3)
    model.save_pretrained(f"{bucket}/model", {"a": 1})
    original = bundle.read_tensors

    def read_and_replace(path):
        found = read_model_config(place(f"{bucket}/model"))
        place(f"{bucket}/model/config.json").write_json(found | {"a": 2})
        return original(path)

    monkeypatch.setattr(bundle, "read_tensors", read_and_replace)
    with pytest.raises(DataError, match="model: was replaced while it was read"):
        ResVAE.from_pretrained(f"{bucket}/model")


def test_a_network_that_fails_is_not_a_damaged_file(bucket, make_features, monkeypatch):
    import_features(make_features(), f"{bucket}/f.parquet")
    features = Features.open(f"{bucket}/f.parquet")

    def fail(*_, **__):
        raise OSError("When reading: AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 28")

    with monkeypatch.context() as patch, pytest.raises(JobError, match="cannot be reached: When reading: AWS Error"):
        patch.setattr(pq.ParquetFile, "iter_batches", fail)
        list(features.batches())
    with monkeypatch.context() as patch, pytest.raises(JobError, match="cannot be reached"):
        patch.setattr(pq, "ParquetFile", fail)
        list(features.batches())


def test_globs_and_hidden_files(bucket):
    for name in ("b/1.parquet", "a/2.parquet", "_x/3.parquet", "c.txt"):
        (place(bucket) / name).write_bytes(b"x")
    root = bucket.removeprefix("s3://")
    assert list_files(bucket, ".parquet")[1] == [f"{root}/a/2.parquet", f"{root}/b/1.parquet"]
    assert list_files(f"{bucket}/*/1.parquet", ".parquet")[1] == [f"{root}/b/1.parquet"]


class TestErrors:
    """One line and one exit code, before anything else is done."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(s3, "ATTEMPTS", 1)

    def check(self, capsys, arguments, code, *words):
        began = time.monotonic()
        assert main(arguments) == code
        assert time.monotonic() - began < 20
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        for word in words:
            assert word in err

    def test_nothing_there(self, bucket, capsys):
        self.check(capsys, ["check", f"{bucket}/none.parquet"], 3, f"{bucket}/none.parquet: no such file or folder")
        self.check(capsys, ["split", f"{bucket}/none.parquet", f"{bucket}/d"], 3, "no such file or folder")

    def test_no_bucket(self, bucket, make_features, capsys):
        words = ("bucket 'nowhere-at-all' does not exist", "s3://nowhere-at-all/f.parquet")
        self.check(capsys, ["check", "s3://nowhere-at-all/f.parquet"], 1, *words)
        self.check(capsys, ["import", str(make_features()), "s3://nowhere-at-all/f.parquet"], 1, *words)

    def test_no_server(self, bucket, capsys, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        self.check(capsys, ["check", f"{bucket}/f.parquet"], 1, "cannot be reached", f"{bucket}/f.parquet")

    def test_no_bucket_named(self, capsys):
        self.check(capsys, ["check", "s3://"], 2, "names no bucket; expected s3://BUCKET/NAME")

    def test_a_request_that_is_refused(self, bucket, monkeypatch):
        def refused(*_):
            raise OSError("AWS Error ACCESS_DENIED during HeadObject operation: no")

        monkeypatch.setattr(s3, "_bucket", refused)
        with pytest.raises(JobError, match="cannot be reached: AWS Error ACCESS_DENIED"):
            place(f"{bucket}/x")


def test_an_endpoint_of_its_own_for_s3_comes_first(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert not place(f"{bucket}/x").exists()
