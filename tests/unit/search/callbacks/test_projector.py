import numpy as np
import pyarrow as pa
import pytest
import torch

from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.data.splitting.split import split_features
from resvae_ray.model.network import ResVAE
from resvae_ray.search.callbacks import projector
from resvae_ray.search.callbacks.projector import write_projector

DIM = 4


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ResVAE(DIM, 8, 3).eval()


@pytest.fixture
def make(tmp_path):
    """Writes a DATASET of proteins with these ids and labels; protein n has features n, n + 0.1, …"""

    def make(ids, labels=None):
        matrix = (np.arange(len(ids))[:, None] + np.arange(DIM) / 10).astype(np.float32)
        others = pa.table({"label": labels} if labels else {})
        with FeaturesWriter(tmp_path / "features.parquet", DIM, {}) as writer:
            for start in range(0, len(ids), 50):
                part = slice(start, start + 50)
                writer.write(FeatureBatch(pa.array(ids[part]), matrix[part], others.slice(start, 50)))
        return split_features(tmp_path / "features.parquet", tmp_path / "dataset")

    return make


def read(folder):
    latents = np.loadtxt(folder / "latents.tsv", delimiter="\t", ndmin=2)
    heading, *lines = (folder / "proteins.tsv").read_text().split("\n")[:-1]
    assert heading == "id\tlabel\tside"
    return latents, [line.split("\t") for line in lines]


def test_every_protein_has_its_latents_its_label_and_its_side(make, model, tmp_path):
    ids = [f"p{n}" for n in range(20)]
    dataset = make(ids, ["even" if n % 2 == 0 else None for n in range(20)])
    latents, about = read(write_projector(tmp_path, 7, model, dataset))
    assert sorted(row[0] for row in about) == sorted(ids)
    train = [name for part in dataset.features("train").ids() for name in part.to_pylist()]
    for z, (name, label, side) in zip(latents, about, strict=True):
        number = int(name[1:])
        x = torch.tensor([[number + column / 10 for column in range(DIM)]])
        with torch.no_grad():
            np.testing.assert_allclose(z, model.encode(x)[0][0].numpy(), rtol=1e-4, atol=1e-6)
        assert label == ("even" if number % 2 == 0 else "")
        assert side == ("train" if name in train else "val")


def test_tabs_line_ends_and_control_characters_stay_in_their_cell(make, model, tmp_path):
    ids = ["a\tb", "c\nd", "e\r\nf", "g\x00h", "i\u2028j", "Ünï · 蛋白"]
    _, about = read(write_projector(tmp_path, 0, model, make(ids, ["x\ty"] * 6)))
    assert sorted(row[0] for row in about) == sorted(
        [r"a\tb", r"c\nd", r"e\r\nf", r"g\x00h", r"i\u2028j", "Ünï · 蛋白"]
    )
    assert {row[1] for row in about} == {r"x\ty"}


def test_many_proteins_give_the_same_random_sample(make, model, tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "POINTS", 30)
    dataset = make([f"p{n}" for n in range(300)])
    drawn = [read(write_projector(tmp_path / str(n), 0, model, dataset, seed)) for n, seed in enumerate((0, 0, 1))]
    names = [[row[0] for row in about] for _, about in drawn]
    assert [len(set(each)) for each in names] == [30, 30, 30]
    assert names[0] == names[1] != names[2]
    numbers = sorted(int(name[1:]) for name in names[0])
    assert numbers[0] < 60
    assert numbers[-1] > 240


def test_very_many_proteins_are_sampled_by_row_group(make, model, tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "POINTS", 5)
    monkeypatch.setattr(projector, "ROWS_READ", 40)
    monkeypatch.setattr("resvae_ray.data.features_writer.ROW_GROUP_BYTES", 10 * DIM * 4)
    dataset = make([f"p{n}" for n in range(200)])
    read_groups = []
    original = Features.file_batches
    monkeypatch.setattr(Features, "file_batches", lambda *args: read_groups.append(args[2]) or original(*args))
    _, about = read(write_projector(tmp_path, 0, model, dataset))
    assert len(about) == 5
    assert len(read_groups) == 4


def test_another_best_trial_replaces_what_was_shown(make, model, tmp_path):
    dataset = make(["a", "b", "c", "d", "e"])
    first = write_projector(tmp_path, 3, model, dataset)
    second = write_projector(tmp_path, 12, model, dataset)
    assert not first.exists()
    assert (second / "projector_config.pbtxt").read_text().count("embeddings") == 1
    assert write_projector(tmp_path, 12, model, dataset) == second
    assert [path.name for path in tmp_path.glob("*projector_trial*")] == ["projector_trial_0012"]
    assert isinstance(Dataset.open(dataset.path), Dataset)
