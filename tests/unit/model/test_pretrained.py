import json

import numpy as np
import pytest
import torch

from resvae_ray.errors import DataError, UsageError
from resvae_ray.model.network import ResVAE
from resvae_ray.model.published import load_published_weights


@pytest.fixture
def saved(tmp_path):
    model = ResVAE(8, 16, 3).eval()
    about = {"best_val_loss": 12.5, "features": {"model": "SYN|THETIC"}}
    return model, model.save_pretrained(tmp_path / "model", about)


def test_it_comes_back_as_it_was(saved):
    model, path = saved
    again = ResVAE.from_pretrained(path)
    x = torch.randn(4, 8)
    assert torch.equal(again.encode(x)[0], model.encode(x)[0])
    assert not again.training


def test_the_folder_is_one_that_hugging_face_knows(saved):
    _, path = saved
    assert sorted(file.name for file in path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((path / "config.json").read_text())
    assert (config["model_type"], config["input_dim"], config["best_val_loss"]) == ("resvae", 8, 12.5)
    card = (path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: resvae_ray\n")
    assert "| model | SYN\\|THETIC |" in card
    assert (path / "model.safetensors").stat().st_mode & 0o044, "others may read a model"


def test_an_existing_folder_is_left_alone(saved):
    model, path = saved
    with pytest.raises(UsageError, match="already there"):
        model.save_pretrained(path)


def test_weights_that_do_not_fit_are_named_with_both_shapes(saved):
    _, path = saved
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"z_dim": 4}))
    with pytest.raises(DataError, match=r"model: tensor 'fc21.weight' has shape \(3, 4\), expected \(4, 4\)"):
        ResVAE.from_pretrained(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_dim": "3"}, "z_dim is missing or no whole number"),
        ({"input_dim": 0}, "input_dim"),
        ({"hidden_dim": 2}, "at least 4"),
    ],
)
def test_a_configuration_without_sense_is_refused(saved, change, message):
    _, path = saved
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises((DataError, UsageError), match=message):
        ResVAE.from_pretrained(path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_named(saved, name):
    _, path = saved
    (path / name).write_bytes((path / name).read_bytes()[:20])
    with pytest.raises(DataError, match=name):
        ResVAE.from_pretrained(path)


def test_no_model(tmp_path):
    with pytest.raises(DataError, match="no MODEL"):
        ResVAE.from_pretrained(tmp_path)


class Evil:
    def __reduce__(self):
        return (print, ("code of a stranger ran",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), "not a file of weights"),
        ({"fc1.weight": torch.zeros(3, 2)}, "fc21.weight"),
        ([1, 2], "not a state dict"),
        ({"a": np.float32(1)}, "not a"),
    ],
)
def test_a_pt_file_of_something_else_is_refused_and_runs_nothing(content, message, tmp_path, capsys):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=message):
        load_published_weights(tmp_path / "a.pt")
    assert "stranger" not in capsys.readouterr().out


def test_a_flipped_bit_of_the_weights_is_seen(saved):
    _, path = saved
    content = bytearray((path / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (path / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="model.safetensors: damaged: its content does not have the checksum"):
        ResVAE.from_pretrained(path)


@pytest.mark.parametrize("change", [{"hidden_dim": 1 << 24}, {"input_dim": 1 << 24}, {"hidden_dim": 1 << 40}])
def test_widths_that_the_weights_do_not_have_take_no_memory(saved, change):
    _, path = saved
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(DataError, match="has shape|at most"):
        ResVAE.from_pretrained(path)
