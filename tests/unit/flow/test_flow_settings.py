"""A flow refuses mistakes before it does anything."""

import json

import numpy as np
import pytest

from resvae_ray.cli import main
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.embed.settings import Embedding
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.place import local_target
from resvae_ray.flow import run_all as module
from resvae_ray.flow.flow_settings import FlowSettings, flow_config, require_same
from resvae_ray.flow.run_all import run_all


@pytest.fixture
def source(tmp_path):
    np.savez(tmp_path / "proteins.npz", id=np.array(["a", "b"]), features=np.eye(2))
    return tmp_path / "proteins.npz"


@pytest.fixture
def no_steps(monkeypatch):
    monkeypatch.setattr(module, "steps_of", lambda *_: [])


def test_one_training_of_the_recommended_scenario_is_the_default():
    config = flow_config()
    assert (config.name, config.search.trials, config.search.try_first) == ("recommended", 1, True)


def test_a_folder_of_something_else_is_refused(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"out: already there, and not begun by 'resvae-ray run'; choose another"):
        run_all(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_changed_source_is_refused(source, tmp_path, no_steps):
    run_all(source, tmp_path / "out")
    run_all(source, tmp_path / "out")
    np.savez(source, id=np.array(["a", "b", "c"]), features=np.eye(3))
    with pytest.raises(UsageError, match=r"proteins.npz: has changed since .*out was begun; choose another folder"):
        run_all(source, tmp_path / "out")


def test_a_changed_test_set_is_refused(source, tmp_path, no_steps):
    (tmp_path / "test.txt").write_text("a\n")
    settings = FlowSettings(exclude=str(tmp_path / "test.txt"))
    run_all(source, tmp_path / "out", settings)
    (tmp_path / "test.txt").write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"test.txt: has changed since"):
        run_all(source, tmp_path / "out", settings)


def test_another_source_is_refused(source, tmp_path, no_steps):
    run_all(source, tmp_path / "out")
    other = source.rename(tmp_path / "other.npz")
    with pytest.raises(UsageError, match=r"was begun with SOURCE .*proteins.npz, not SOURCE .*other.npz"):
        run_all(other, tmp_path / "out")


def test_a_damaged_record_is_one_line(source, tmp_path, no_steps):
    run_all(source, tmp_path / "out")
    (tmp_path / "out" / "flow.json").write_text("[]")
    with pytest.raises(DataError, match=r"flow.json: not the record of a flow; choose another folder"):
        require_same(local_target(tmp_path / "out"), FlowSettings().record(str(source)))


def test_sequences_have_no_columns_of_features(tmp_path):
    (tmp_path / "a.fasta").write_text(">a\nMK\n")
    with pytest.raises(UsageError, match=r"--prefix: .*a.fasta holds sequences, which have no columns of features"):
        FlowSettings(columns=ColumnChoice(prefix="z")).for_source(str(tmp_path / "a.fasta"))


def test_a_flow_has_one_layer_and_its_record_is_that_of_json(tmp_path):
    with pytest.raises(UsageError, match="--layer: a flow needs one layer"):
        FlowSettings(embedding=Embedding(layers=(1, 2)))
    (tmp_path / "p.fasta").write_text(">a\nMKT\n")
    record = FlowSettings(embedding=Embedding(layers=(1,))).record(str(tmp_path / "p.fasta"))
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("pooling", ["all", "pho"])
def test_a_flow_has_one_vector_per_protein(pooling):
    with pytest.raises(UsageError, match=f"--pooling {pooling}: a flow needs one vector per protein"):
        FlowSettings(embedding=Embedding(pooling=pooling))


def test_a_folder_in_a_bucket_is_refused(source, capsys):
    assert main(["run", str(source), "s3://bucket/out"]) == 2
    assert "is written to a local or mounted folder" in capsys.readouterr().err


def test_a_missing_source_is_one_line(tmp_path, capsys):
    assert main(["run", str(tmp_path / "none.csv"), str(tmp_path / "out")]) == 3
    assert capsys.readouterr().err == f"resvae-ray: {tmp_path}/none.csv: no such file\n"
    assert not (tmp_path / "out").exists(), "a corrected command may use it"


def test_two_at_a_time_are_refused(source, tmp_path):
    (tmp_path / "out").mkdir()
    with module.hold(tmp_path / "out" / "flow.lock"), pytest.raises(UsageError, match="out: a search is running in it"):
        run_all(source, tmp_path / "out")
