"""A MODEL on the Hugging Face hub, simulated by a server on loopback."""

import shutil

import numpy as np
import pytest
import torch
from hub import TOKEN, hub_on_loopback

import resvae_ray as rr
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.model.network import ResVAE

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's client, to httpx2


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_on_loopback() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(
            "huggingface_hub.constants.HF_HUB_DISABLE_XET", True
        )  # a protocol that the hub alone speaks
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.chdir(tmp_path)
        yield hub


def test_a_model_comes_back_from_the_hub_as_it_was_pushed(hub):
    model = ResVAE(8, 16, 3).eval()
    url = model.push_to_hub("user/tiny", {"best_val_loss": 12.5})
    assert url == f"{hub.url}/user/tiny/commit/{1:040x}"
    (pushed,) = hub.repositories["user/tiny"]
    assert sorted(pushed) == ["README.md", "config.json", "model.safetensors"]
    assert b"library_name: resvae_ray" in pushed["README.md"]
    assert b'"best_val_loss": 12.5' in pushed["config.json"]
    again = ResVAE.from_pretrained("user/tiny")
    x = torch.randn(4, 8)
    assert torch.equal(again.encode(x)[0], model.encode(x)[0])
    assert not again.training


def test_a_folder_is_pushed_as_it_is_without_files_that_are_not_of_a_model(hub, tmp_path):
    path = tmp_path / "model"
    ResVAE(8, 16, 3).save_pretrained(path)
    (path / "README.md").write_text("---\nlicense: mit\n---\nMine.\n")
    (path / "model.onnx").write_bytes(b"onnx")
    (path / "passwords.txt").write_text("secret")
    rr.push_to_hub(path, "user/mine", private=True)
    (pushed,) = hub.repositories["user/mine"]
    assert sorted(pushed) == ["README.md", "config.json", "model.onnx", "model.safetensors"]
    assert pushed["README.md"].endswith(b"Mine.\n")
    assert hub.private == {"user/mine"}


def test_an_older_revision_can_be_had(hub):
    first, second = ResVAE(8, 16, 3), ResVAE(8, 16, 4)
    first.push_to_hub("user/tiny")
    second.push_to_hub("user/tiny")
    assert ResVAE.from_pretrained("user/tiny").z_dim == 4
    assert ResVAE.from_pretrained("user/tiny", revision=f"{1:040x}").z_dim == 3
    with pytest.raises(DataError, match="user/tiny: the hub has no revision 'v9' of it"):
        ResVAE.from_pretrained("user/tiny", revision="v9")


def test_weights_and_config_alone_are_downloaded(hub, tmp_path):
    path = ResVAE(8, 16, 3).save_pretrained(tmp_path / "model")
    rr.push_to_hub(path, "user/tiny")
    hub.repositories["user/tiny"][0]["evil.py"] = b"raise SystemExit"
    ResVAE.from_pretrained("user/tiny")
    got = {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}
    assert got == {"config.json", "model.safetensors"}


def test_a_mistyped_path_never_asks_the_hub(hub, tmp_path):
    """Otherwise a stranger could register `run/modle` on the hub and have that model loaded."""
    ResVAE(8, 16, 3).push_to_hub("run/modle")
    hub.requests.clear()
    (tmp_path / "run").mkdir()
    for path in ("run/modle", "./run/modle", "/run/modle", "run", tmp_path / "user" / "tiny"):
        with pytest.raises(DataError, match="no MODEL"):
            ResVAE.from_pretrained(path)
    assert hub.requests == []


def test_missing_model(hub, monkeypatch):
    with pytest.raises(
        DataError, match="user/absent: no such folder, and no model of this name on the Hugging Face hub"
    ):
        ResVAE.from_pretrained("user/absent")
    ResVAE(8, 16, 3).push_to_hub("user/tiny")
    del hub.repositories["user/tiny"][0]["config.json"]
    with pytest.raises(DataError, match=r"no MODEL: it has no config\.json"):
        ResVAE.from_pretrained("user/tiny")


def test_without_a_token_nothing_is_pushed_and_the_message_says_how(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UsageError, match="user/tiny: the hub refused .*401.*; log in with `hf auth login`"):
        ResVAE(8, 16, 3).push_to_hub("user/tiny")
    assert hub.repositories == {}


@pytest.mark.parametrize("name", ["tiny", "user/a/b", "user/ä", "https://x/y", "user/"])
def test_a_name_that_the_hub_cannot_have(hub, name):
    with pytest.raises(UsageError, match="expected USER/MODEL"):
        ResVAE(8, 16, 3).push_to_hub(name)
    assert hub.requests == []


def test_a_folder_that_is_not_a_model_is_not_pushed(hub, tmp_path):
    with pytest.raises(DataError, match="no MODEL"):
        rr.push_to_hub(tmp_path, "user/tiny")
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached(hub, monkeypatch, tmp_path):
    ResVAE(8, 16, 3).push_to_hub("user/tiny")
    assert ResVAE.from_pretrained("user/tiny").z_dim == 3
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert ResVAE.from_pretrained("user/tiny").z_dim == 3, "downloaded earlier"
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(
        JobError, match="user/tiny: no such folder, and the download from the Hugging Face hub failed: "
    ):
        ResVAE.from_pretrained("user/tiny")
    with pytest.raises(JobError, match="user/tiny: the upload to the Hugging Face hub failed: "):
        ResVAE(8, 16, 3).push_to_hub("user/tiny")


def test_without_the_extra(hub, monkeypatch):
    monkeypatch.setattr("resvae_ray.extras.find_spec", lambda name: None)
    for use in (ResVAE.from_pretrained, ResVAE(8, 16, 3).push_to_hub):
        with pytest.raises(UsageError, match=r"pip install .*\[hub\]"):
            use("user/tiny")


def test_an_estimator_comes_back_from_the_hub(hub):
    x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    small = {"hidden_dim": 8, "z_dim": 4, "batch_size": 8}
    made = rr.ResVAETransformer(2, epochs=1, training=small, random_state=0).fit(x)
    assert made.push_to_hub("user/estimator", private=True) == f"{hub.url}/user/estimator/commit/{1:040x}"
    again = rr.ResVAETransformer.from_pretrained("user/estimator")
    assert again.get_params()["n_components"] == 2
    assert np.array_equal(again.transform(x), made.transform(x))
