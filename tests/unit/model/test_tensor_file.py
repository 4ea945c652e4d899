"""The file that weights and training states are kept in."""

import pytest
import torch

from resvae_ray.errors import DataError
from resvae_ray.model.tensor_file import read_tensors, write_tensors

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.zeros(1)}


@pytest.mark.parametrize("state", [{}, {"epoch": 3, "origin": 'Müller\'s "features"\n\x1f'}], ids=["no state", "state"])
def test_the_same_content_is_the_same_bytes(state, tmp_path):
    """The library orders the metadata at random in each file."""
    paths = [tmp_path / f"{number}.safetensors" for number in range(16)]
    for path in paths:
        write_tensors(path, TENSORS, state)
    assert len({path.read_bytes() for path in paths}) == 1
    tensors, found = read_tensors(paths[0])
    assert found == state
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_file_that_cannot_be_opened_now_is_not_called_missing(tmp_path, monkeypatch):
    """A training treats a missing or broken file as lost and overwrites it with a fresh start."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {})
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        read_tensors(path)


def refuse(*_):
    raise OSError(24, "Too many open files")


def test_a_damaged_file_is_reported_once(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {})
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError) as caught:
        read_tensors(path)
    assert str(caught.value).count("a.safetensors") == 1


@pytest.mark.parametrize("there", ["nothing", "folder", "empty"])
def test_no_such_file(there, tmp_path):
    path = tmp_path / "a.safetensors"
    if there == "folder":
        path.mkdir()
    if there == "empty":
        path.touch()
    with pytest.raises(DataError, match=r"a\.safetensors: no"):
        read_tensors(path)
