"""Each protein is written once, in order, under its id; the bytes are the same for any worker and after a kill."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import children
from tiny_esm import DIM, SEQUENCES, SITES, write_tiny_esm
from tiny_models import TINY

from resvae_ray.data import features_writer as writer_module
from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.embed import embed_proteins as job
from resvae_ray.embed import work
from resvae_ray.embed.embed_proteins import embed_proteins
from resvae_ray.embed.language_model import LanguageModel
from resvae_ray.embed.model_files import ModelFiles
from resvae_ray.embed.settings import Embedding
from resvae_ray.embed.workers import Workers
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.place import BucketPlace

ONE = Workers(gpus=0, count=1)


def write_proteins(path, count, longest=60, seed=0):
    """A FASTA file, and its ids to sequences."""
    draw = random.Random(seed)
    proteins = {
        f"P{i:04d}": "".join(draw.choices("ACDEFGHIKLMNPQRSTVWYXU", k=draw.randint(1, longest))) for i in range(count)
    }
    path.write_text("".join(f">{name} protein {name}\n{text}\n" for name, text in proteins.items()))
    return proteins


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_esm(tmp_path_factory.mktemp("model") / "esm2_tiny"))


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of about 300 residues, blocks of about 100 proteins (cls, mean) or 12 (all)."""
    monkeypatch.setattr(job, "PART_RESIDUES", (300, 300))
    monkeypatch.setattr(work, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr("resvae_ray.data.proteins.fasta.BATCH_PROTEINS", 20)


@pytest.mark.usefixtures("ray_here", "small_parts")
class TestInOneRay:
    def test_each_protein_has_its_own_vector_in_the_order_of_the_file(self, model, tmp_path):
        proteins = write_proteins(tmp_path / "p.fasta", 250)
        told = []
        settings = Embedding(model, "mean", max_length=40, long="split")
        summary = embed_proteins(
            tmp_path / "p.fasta", tmp_path / "f.parquet", settings, workers=ONE, progress=lambda *at: told.append(at)
        )
        table = pq.read_table(tmp_path / "f.parquet")
        assert table.column_names == ["id", "features", "sequence", "description"]
        assert dict(zip(table["id"].to_pylist(), table["sequence"].to_pylist(), strict=True)) == proteins
        assert table["id"].to_pylist() == list(proteins)
        assert table["description"][7].as_py() == "protein P0007"
        network = LanguageModel.load(ModelFiles.find(model), "float32")
        alone = [network.vectors([text], [[]], settings)[0] for text in proteins.values()]
        np.testing.assert_allclose(np.stack(table["features"].to_numpy()), alone, rtol=1e-5, atol=1e-5)
        cut = sum(len(text) > 40 for text in proteins.values())
        assert (summary.rows, summary.widths, summary.cut, summary.precision) == (250, {"mean": DIM}, cut, "float32")
        assert told[0] == (0, 250)
        assert told[-1] == (250, 250)
        assert len(told) > 20
        assert Features.open(tmp_path / "f.parquet").provenance == {
            "source": "p.fasta",
            "model": "esm2_tiny",
            "model_digest": ModelFiles.find(model).digest(),
            "layer": 3,
            "pooling": "mean",
            "max_length": 40,
            "long": "split",
            "cut": cut,
            "dtype": "float32",
        }
        assert not list(tmp_path.glob(".*"))

    def test_the_number_of_workers_changes_no_byte(self, model, tmp_path):
        write_proteins(tmp_path / "p.fasta", 150)
        for name, workers in (("one", ONE), ("two", Workers(gpus=0, count=2)), ("gpu", Workers(gpus=1))):
            embed_proteins(tmp_path / "p.fasta", tmp_path / f"{name}.parquet", Embedding(model), workers=workers)
        one, two, gpu = ((tmp_path / f"{name}.parquet").read_bytes() for name in ("one", "two", "gpu"))
        assert one == two == gpu

    def test_all_poolings_are_features_each(self, model, tmp_path, monkeypatch):
        monkeypatch.setattr(writer_module, "FILE_BYTES", 4 * DIM * 50)
        monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 4 * DIM * 50)
        table = pd.DataFrame(write_proteins(tmp_path / "p.fasta", 120).items(), columns=["Entry", "Sequence"])
        table.assign(label="x", note="007").to_csv(tmp_path / "p.csv", index=False)
        embed_proteins(tmp_path / "p.csv", tmp_path / "all", Embedding(model, "all"), workers=ONE)
        widths = {"cls": DIM, "eos": DIM, "mean": DIM, "segments": 10 * DIM}
        assert sorted(path.name for path in (tmp_path / "all").iterdir()) == sorted(widths)
        for pooling, dim in widths.items():
            features = Features.open(tmp_path / "all" / pooling)
            assert (features.dim, features.rows, features.provenance["pooling"]) == (dim, 120, pooling)
            assert [name for ids in features.ids() for name in ids.to_pylist()] == list(table.Entry)
            assert features.schema.names == ["id", "features", "sequence", "label", "note"]
        assert len(Features.open(tmp_path / "all" / "cls").files) == 3
        layout = Features.open(tmp_path / "all" / "segments").provenance["layout"]
        assert layout == "10 segments of 16 numbers, one after the other"
        dataset = split_features(tmp_path / "all" / "segments", tmp_path / "dataset")
        assert (dataset.dim, dataset.train_rows, dataset.provenance["model"]) == (10 * DIM, 96, "esm2_tiny")
        assert import_features(tmp_path / "all" / "mean", tmp_path / "again.parquet").rows == 120
        embed_proteins(tmp_path / "p.csv", tmp_path / "mean.parquet", Embedding(model, "mean"), workers=ONE)
        alone, among = (next(Features.open(tmp_path / at).batches()) for at in ("mean.parquet", "all/mean"))
        np.testing.assert_allclose(alone.features[: len(among)], among.features, rtol=1e-5, atol=1e-5)

    def test_layers_are_features_each(self, model, tmp_path):
        write_proteins(tmp_path / "p.fasta", 60)
        settings = Embedding(model, "mean", layers=(0, 2, -1))
        summary = embed_proteins(tmp_path / "p.fasta", tmp_path / "layers", settings, workers=ONE)
        assert summary.widths == {"layer-0": DIM, "layer-2": DIM, "layer-3": DIM}
        assert sorted(path.name for path in (tmp_path / "layers").iterdir()) == sorted(summary.widths)
        each = {}
        for layer in (0, 2, 3):
            features = Features.open(tmp_path / "layers" / f"layer-{layer}")
            assert (features.provenance["layer"], features.provenance["pooling"], features.rows) == (layer, "mean", 60)
            each[layer] = next(features.batches()).features
        assert not np.allclose(each[2], each[3])
        embed_proteins(tmp_path / "p.fasta", tmp_path / "two", Embedding(model, "mean", layers=(2,)), workers=ONE)
        assert Features.open(tmp_path / "two").provenance["layer"] == 2
        np.testing.assert_array_equal(next(Features.open(tmp_path / "two").batches()).features, each[2])
        assert split_features(tmp_path / "two", tmp_path / "dataset").provenance["layer"] == 2
        with pytest.raises(UsageError, match="layers.parquet: --layer, given several times, writes a folder"):
            embed_proteins(tmp_path / "p.fasta", tmp_path / "layers.parquet", settings, workers=ONE)

    @pytest.mark.parametrize("family", TINY)
    def test_every_family_resumes_to_the_same_bytes(self, family, tmp_path, monkeypatch):
        TINY[family].write(tmp_path / "model")
        write_proteins(tmp_path / "p.fasta", 40)
        settings = Embedding(str(tmp_path / "model"), precision="float32")
        embed_proteins(tmp_path / "p.fasta", tmp_path / "whole.parquet", settings, workers=ONE)

        def stop(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(job, "write_features", stop)
            with pytest.raises(KeyboardInterrupt):
                embed_proteins(tmp_path / "p.fasta", tmp_path / "f.parquet", settings, workers=ONE)
        parts = sorted((tmp_path / ".f.parquet.embedding").glob("*.npy"))
        for path in parts[::2]:
            path.unlink()
        assert len(parts) > 3
        embed_proteins(tmp_path / "p.fasta", tmp_path / "f.parquet", settings, workers=ONE)
        assert (tmp_path / "f.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
        assert Features.open(tmp_path / "f.parquet").provenance["pooling"] == ("cls" if "esm" in family else "mean")

    def test_sites(self, model, tmp_path):
        (tmp_path / "p.fasta").write_text("".join(f">{name}\n{text}\n" for name, text in SEQUENCES.items()))
        rows = [{"id": name, "position": place} for name, at in SITES.items() for place in at]
        pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(tmp_path / "sites.csv", index=False)
        summary = embed_proteins(
            tmp_path / "p.fasta", tmp_path / "f", Embedding(model, "pho"), sites=tmp_path / "sites.csv", workers=ONE
        )
        assert summary.siteless == 2
        (batch,) = Features.open(tmp_path / "f").batches()
        network = LanguageModel.load(ModelFiles.find(model), "float32")
        places = [SITES.get(name, []) for name in SEQUENCES]
        expected = network.vectors(list(SEQUENCES.values()), places, Embedding(pooling="pho"))
        np.testing.assert_allclose(batch.features, expected, atol=1e-5)
        assert set(batch.others.column_names) == {"sequence", "description"}

    def test_a_worker_error_is_reported_and_leaves_no_files(self, model, tmp_path):
        write_proteins(tmp_path / "p.fasta", 50)
        broken = write_tiny_esm(tmp_path / "broken")
        whole = (broken / "model.safetensors").read_bytes()
        (broken / "model.safetensors").write_bytes(whole[:1000])
        with pytest.raises(DataError, match="broken: the weights cannot be loaded"):
            embed_proteins(tmp_path / "p.fasta", tmp_path / "f", Embedding(str(broken)), workers=ONE)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "p.fasta"]
        (broken / "model.safetensors").write_bytes(whole)
        assert embed_proteins(tmp_path / "p.fasta", tmp_path / "f", Embedding(str(broken)), workers=ONE).rows == 50

    def test_something_else_in_the_same_place_is_refused(self, model, tmp_path, monkeypatch):
        write_proteins(tmp_path / "p.fasta", 50)

        def stop(*_):
            raise KeyboardInterrupt

        (tmp_path / "f").mkdir()  # an empty output folder is accepted
        with monkeypatch.context() as patch:
            patch.setattr(job, "write_features", stop)
            with pytest.raises(KeyboardInterrupt):
                embed_proteins(tmp_path / "p.fasta", tmp_path / "f", Embedding(model), workers=ONE)
        for other, settings in (
            ("pooling", Embedding(model, "mean")),
            ("max_length and long", Embedding(model, max_length=90, long="split")),
            ("precision", Embedding(model, precision="bfloat16")),
            ("model or layer", Embedding(model, layers=(1,))),
        ):
            with pytest.raises(UsageError, match=f"started with other {other}"):
                embed_proteins(tmp_path / "p.fasta", tmp_path / "f", settings, workers=ONE)
        with monkeypatch.context() as patch:
            patch.setattr(job, "ray_session", stop)  # nothing is left to embed
            assert embed_proteins(tmp_path / "p.fasta", tmp_path / "f", Embedding(model)).rows == 50
        with pytest.raises(UsageError, match="already there"):
            embed_proteins(tmp_path / "p.fasta", tmp_path / "f", Embedding(model))


PARTS = (1000, 1000)
SCRIPT = f"""
import sys
from resvae_ray.cli import main
from resvae_ray.embed import embed_proteins as job
job.PART_RESIDUES = {PARTS}
sys.exit(main(sys.argv[1:]))
"""


def start_embedding(*arguments):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SCRIPT, "embed", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_when(begun, is_time):
    for _ in range(6000):
        if is_time():
            break
        assert begun.poll() is None, begun.communicate()
        time.sleep(0.01)
    for pid in [begun.pid, *children(begun.pid)]:
        os.kill(pid, signal.SIGKILL)
    begun.communicate()


@pytest.mark.timeout(600)  # Ray starts four times
def test_from_and_to_a_bucket_killed_among_the_parts_and_among_the_files(tmp_path, bucket, ray_here, monkeypatch):
    sizes = {"FILE_BYTES": 4 * 64 * 10, "ROW_GROUP_BYTES": 4 * 64 * 10}  # files of 10 rows, a row group each
    write_proteins(tmp_path / "p.fasta", 400, longest=200)
    BucketPlace(f"{bucket}/p.fasta").upload(tmp_path / "p.fasta")
    model = write_tiny_esm(tmp_path / "esm", dim=64, layers=5)
    command = (f"{bucket}/p.fasta", f"{bucket}/features", "--model", model, "--pooling", "mean")
    patched = f"from resvae_ray.data import features_writer\nvars(features_writer).update({sizes})\nsys.exit"
    monkeypatch.setattr(sys.modules[__name__], "SCRIPT", SCRIPT.replace("sys.exit", patched))
    work_folder, target = BucketPlace(f"{bucket}/.features.embedding"), BucketPlace(f"{bucket}/features")

    def parts():
        return {name for name in work_folder.file_names() if name.endswith(".npy")}

    def files():
        return {name for name in target.file_names() if name.endswith(".parquet")}

    kill_when(start_embedding(*command), lambda: len(parts()) >= 2)
    first = {name: (work_folder / name).written() for name in parts()}
    kill_when(start_embedding(*command), lambda: len(files()) >= 3)
    assert {name: (work_folder / name).written() for name in first} == first
    second = {name: (target / name).written() for name in files()}
    assert 3 <= len(second) < 40
    with pytest.raises(DataError, match="is being written, or was when that was interrupted"):
        Features.open(target)
    again = start_embedding(*command)
    _, err = again.communicate()
    assert again.returncode == 0, err
    assert {name: (target / name).written() for name in second} == second
    assert work_folder.file_names() == set()

    monkeypatch.setattr(job, "PART_RESIDUES", PARTS)
    for name, size in sizes.items():
        monkeypatch.setattr(writer_module, name, size)
    embed_proteins(tmp_path / "p.fasta", tmp_path / "f", Embedding(str(model), "mean"), workers=ONE)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "f").iterdir()}
    assert len(expected) == 40
    assert {name: (target / name).read_bytes() for name in target.file_names()} == expected


def test_a_killed_job_resumes_and_writes_the_same_bytes(tmp_path, ray_here, monkeypatch):
    write_proteins(tmp_path / "p.fasta", 400, longest=200)
    model = write_tiny_esm(tmp_path / "esm", dim=64, layers=5)
    command = (tmp_path / "p.fasta", tmp_path / "f.parquet", "--model", model, "--pooling", "mean")
    begun = start_embedding(*command)
    folder = tmp_path / ".f.parquet.embedding"
    for _ in range(3000):
        if len(list(folder.glob("*.npy"))) >= 2:
            break
        assert begun.poll() is None, begun.communicate()
        time.sleep(0.02)
    for pid in [begun.pid, *children(begun.pid)]:
        os.kill(pid, signal.SIGKILL)
    begun.communicate()
    done = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    parts = len(json.loads((folder / "embedding.json").read_text())["parts"])
    assert 2 <= len(done) < parts
    assert not (tmp_path / "f.parquet").exists()

    again = start_embedding(*command)
    kept: set[str] = set()
    while again.poll() is None:
        for path in folder.glob("*.npy"):
            try:
                when = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            if path.name in done:
                assert done[path.name] == when
                kept.add(path.name)
        time.sleep(0.05)
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert kept == set(done)
    assert "f.parquet: 400 proteins x 64 features (mean), float32\nmodel: ESM-2, license MIT (Meta)" in out
    assert "INFO" not in err

    monkeypatch.setattr(job, "PART_RESIDUES", PARTS)
    embed_proteins(tmp_path / "p.fasta", tmp_path / "g.parquet", Embedding(str(model), "mean"), workers=ONE)
    assert (tmp_path / "f.parquet").read_bytes() == (tmp_path / "g.parquet").read_bytes()
    assert not list(tmp_path.glob(".*"))
