"""The file that weights and training states are kept in."""

import pytest
import torch

from resvae_ray.model.checkpoint import read_tensors, write_tensors

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.zeros(1)}


@pytest.mark.parametrize("state", [{}, {"epoch": 3, "origin": 'Müller\'s "features"\n\x1f'}], ids=["no state", "state"])
def test_the_same_content_is_the_same_bytes(state, tmp_path):
    """The library orders the metadata by chance, in every file anew."""
    paths = [tmp_path / f"{number}.safetensors" for number in range(16)]
    for path in paths:
        write_tensors(path, TENSORS, state)
    assert len({path.read_bytes() for path in paths}) == 1
    tensors, found = read_tensors(paths[0])
    assert found == state
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
