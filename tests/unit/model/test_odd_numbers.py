"""Extreme configurations and data: training succeeds, or fails with a clear message."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from resvae_ray.config import TrainingConfig
from resvae_ray.data.stream import ResidentRows
from resvae_ray.errors import UsageError
from resvae_ray.model.training import Diverged, Training

CONFIG = TrainingConfig(z_dim=3, hidden_dim=16, lr=3e-3, epochs=3, batch_size=8)


def rows(count, scale=1.0):
    matrix = np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)
    return ResidentRows(torch.from_numpy(matrix * np.float32(scale)))


def train(config, data, val):
    return list(Training(config, data, val).epochs())


@pytest.mark.parametrize("loss_type", ["MSE", "RMSE"])
@pytest.mark.parametrize("value", [0.0, 0.25, -9.28])
def test_constant_features(loss_type, value):
    same = ResidentRows(torch.full((20, 6), value))
    metrics = train(replace(CONFIG, loss_type=loss_type), same, same)
    assert all(math.isfinite(row["val_loss"]) for row in metrics)
    assert math.isnan(metrics[-1]["r2"])  # the variance to explain is 0


def test_one_validation_row():
    assert len(train(CONFIG, rows(20), rows(1))) == 3


@pytest.mark.parametrize("count", [2, 5])
def test_fewer_rows_than_a_batch(count):
    assert len(train(CONFIG, rows(count), rows(2))) == 3


@pytest.mark.parametrize(("hidden_dim", "z_dim"), [(4, 1), (4, 50), (16, 5), (5, 7)])
def test_more_latents_than_units_before_them(hidden_dim, z_dim):
    metrics = train(replace(CONFIG, hidden_dim=hidden_dim, z_dim=z_dim), rows(20), rows(4))
    assert len(metrics) == 3


def test_too_narrow_a_network_is_refused_before_it_is_tried():
    with pytest.raises(UsageError, match="hidden_dim is 3; it must be at least 4: the network divides it by 4"):
        replace(CONFIG, hidden_dim=3)


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_a_learning_rate_that_diverges(lr):
    """The error names the divergence at any epoch, and no result is NaN."""
    with pytest.raises(Diverged, match="loss is"):
        train(replace(CONFIG, lr=lr, epochs=30), rows(40), rows(10))


@pytest.mark.parametrize(("train_scale", "val_scale"), [(1e20, 1.0), (1.0, 1e20), (1e38, 1e38)])
def test_losses_that_overflow(train_scale, val_scale):
    with pytest.raises(Diverged, match="(inf|nan|not finite)"):
        train(CONFIG, rows(20, train_scale), rows(4, val_scale))
