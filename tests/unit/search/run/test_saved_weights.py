"""The newest weights of a training, also while it runs."""

import pytest
import torch

from resvae_ray import names
from resvae_ray.errors import DataError
from resvae_ray.model.checkpoint import best_path, keep_only_best
from resvae_ray.model.tensor_file import write_tensors
from resvae_ray.search.run import trainings
from resvae_ray.search.run.trainings import saved_weights


def save(folder, epoch):
    state = {"metrics": {names.EPOCH: epoch, names.VAL_LOSS: 10.0 - epoch}}
    write_tensors(best_path(folder, epoch), {"a": torch.zeros(1)}, state)
    keep_only_best(folder, epoch)


def test_weights_that_are_replaced_while_they_are_read_are_read_again(tmp_path, monkeypatch):
    save(tmp_path, 1)
    read = trainings.read_state

    def replaced(path):
        if path == best_path(tmp_path, 1):
            save(tmp_path, 2)
        return read(path)

    monkeypatch.setattr(trainings, "read_state", replaced)
    found = saved_weights(7, tmp_path)
    assert found is not None
    assert (found.number, found.epoch, found.val_loss) == (7, 2, 8.0)


def test_damaged_weights_are_named(tmp_path):
    save(tmp_path, 1)
    best_path(tmp_path, 1).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"best-0001.safetensors: not a readable"):
        saved_weights(7, tmp_path)


def test_no_weights_yet(tmp_path):
    assert saved_weights(7, tmp_path) is None
