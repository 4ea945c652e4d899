"""Encoding jobs without Ray: tasks run in this process, one after another."""

import pytest
import torch

from resvae_ray.model.network import ResVAE


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return ResVAE(6, 16, 3).save_pretrained(tmp_path / "model")


@pytest.fixture
def encoded(tasks_here):
    """The units that were encoded, in order."""
    return tasks_here
