"""A model's files are found without a network, or the message says how to come by them."""

import json
import time

import pytest
from tiny_esm import write_tiny_esm

from resvae_ray.embed.model_files import ModelFiles
from resvae_ray.embed.settings import Embedding
from resvae_ray.errors import DataError, JobError, UsageError


@pytest.fixture
def folder(tmp_path):
    return write_tiny_esm(tmp_path / "esm2_tiny", layers=2)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache, and no way to the hub."""
    import httpx2

    def refuse(*_, **__):
        raise httpx2.ConnectError("[Errno -2] Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(httpx2.Client, "send", refuse)


def test_a_folder(folder, no_network):
    files = ModelFiles.find(str(folder))
    assert (files.name, files.dim, files.layers, files.is_hub) == ("esm2_tiny", 16, 2, False)
    assert [path.name for path in files.weights()] == ["model.safetensors"]
    assert files.family.most_residues(files.config) is None


def test_the_digest_is_of_all_that_decides_the_vectors(folder):
    files = ModelFiles.find(str(folder))
    before = files.digest()
    assert before == ModelFiles.find(str(folder)).digest()
    for name in ("model.safetensors", "vocab.txt", "config.json"):
        old = (folder / name).read_bytes()
        (folder / name).write_bytes(old[:-1] + b" ")
        assert files.digest() != before, name
        (folder / name).write_bytes(old)


def test_without_a_network_the_message_says_how_to_fetch_the_model(no_network):
    started = time.monotonic()
    with pytest.raises(JobError) as caught:
        ModelFiles.find("esm2_t33_650M_UR50D")
    assert "hf download facebook/esm2_t33_650M_UR50D --local-dir esm2_t33_650M_UR50D" in str(caught.value)
    assert "--model esm2_t33_650M_UR50D: no such folder here" in str(caught.value)
    assert time.monotonic() - started < 3


def test_downloaded_files_need_no_network(folder, no_network, tmp_path):
    commit = "0" * 40
    place = tmp_path / "cache" / "models--facebook--esm2_tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        if file.name != "model.safetensors":
            (snapshot / file.name).write_bytes(file.read_bytes())
    with pytest.raises(JobError, match="hf download facebook/esm2_tiny"):  # a download that was cut short
        ModelFiles.find("esm2_tiny")
    (snapshot / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    found = ModelFiles.find("esm2_tiny")
    assert (found.name, found.folder, found.is_hub) == ("facebook/esm2_tiny", snapshot, True)


def test_folders_that_are_not_models(folder, no_network, tmp_path):
    with pytest.raises(DataError, match="--model ./absent: no such folder"):
        ModelFiles.find("./absent")
    with pytest.raises(UsageError, match="neither a folder nor a name on the hub"):
        ModelFiles.find("esm 2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"config\.json: no such file"):
        ModelFiles.find(str(tmp_path / "empty"))
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"model_type": "bert"}, "describes bert; expected one of ESM-2, ESM-1b or 1v"),
        ({"is_folding_model": True}, "describes esm; expected one of ESM-2"),
        ({"hidden_size": "wide"}, "hidden_size is 'wide'"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(DataError, match=message):
            ModelFiles.find(str(folder))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"no weights there; expected model\.safetensors"):
        ModelFiles.find(str(folder)).digest()
    (folder / "vocab.txt").unlink()
    with pytest.raises(DataError, match=r"no vocab\.txt there"):
        ModelFiles.find(str(folder))


def test_absolute_positions_bound_the_length(tmp_path):
    files = ModelFiles.find(str(write_tiny_esm(tmp_path / "esm1b", position_embedding_type="absolute")))
    assert files.family.most_residues(files.config) == 1022
    with pytest.raises(UsageError, match="--max-length 1023: esm1b reads up to 1022 residues"):
        files.outputs(Embedding(max_length=1023))


def test_without_the_extra(folder, monkeypatch):
    monkeypatch.setattr("resvae_ray.extras.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install .*\[embed\]"):
        ModelFiles.find(str(folder))
