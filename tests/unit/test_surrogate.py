"""The surrogate on which searches are replayed (benchmarks/surrogate.py)."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.record_curves import points_of
from benchmarks.surrogate import Curves
from resvae_ray.config import Config, Domain

EPOCHS = 12
DIVERGED = 5


def loss(point, epoch):
    """Falls with the epochs and the width, with a valley in the learning rate."""
    return 1e4 * (2 + (np.log10(point["lr"]) + 4) ** 2) * (1 + 500 / point["hidden_dim"]) * (1 + 3 / epoch)


@pytest.fixture(scope="module")
def table():
    points = list(points_of(Config(), 32))
    losses = [[loss(point, epoch) for epoch in range(1, EPOCHS + 1)] for point in points]
    losses[3][6] *= 5  # a jump, and back
    losses[DIVERGED][4:] = [np.inf] * (EPOCHS - 4)
    return pd.DataFrame(
        [{**p, "epoch_s": 1.0 + n, "losses": c} for n, (p, c) in enumerate(zip(points, losses, strict=True))]
    )


@pytest.fixture(scope="module")
def curves(table):
    return Curves(table, Config())


@pytest.mark.parametrize("row", [0, 3, 17])
def test_a_recorded_configuration_has_the_curve_that_was_recorded(row, table, curves):
    found, seconds = curves.of(table.iloc[row].to_dict())
    assert found == pytest.approx(table["losses"][row], rel=1e-9)
    assert seconds == 1.0 + row


def test_near_one_that_diverged_it_diverges(table, curves):
    point = table.iloc[DIVERGED].to_dict()
    found, _ = curves.of(point | {"hidden_dim": point["hidden_dim"] + 1})
    assert np.isinf(found[4:]).all()
    assert np.isfinite(found[:4]).all()


def test_between_the_points_it_follows_the_configuration(curves):
    """To 5 %, where the losses of the points differ by a factor of two."""
    asked = [{"z_dim": 30, "hidden_dim": h, "lr": lr} for h in (400, 700, 900) for lr in (5e-5, 1e-4, 3e-4)]
    ends = [curves.of(point)[0][-1] for point in asked]
    assert ends == pytest.approx([loss(point, EPOCHS) for point in asked], rel=0.05)


def test_spaces_with_choices_and_pinned_fields(table):
    """A choice of two, of which one has twice the loss."""
    space = {"batch_size": Domain(choices=(32, 64)), "z_dim": Domain(18, 18), "lr": Domain(1e-5, 1e-3, log=True)}
    config = replace(Config(), space=space)
    points = list(points_of(config, 16))
    losses = [
        [loss({"hidden_dim": 500, **p}, epoch) * p["batch_size"] for epoch in range(1, EPOCHS + 1)] for p in points
    ]
    curves = Curves(
        pd.DataFrame([{**p, "epoch_s": 1.0, "losses": c} for p, c in zip(points, losses, strict=True)]), config
    )
    small, large = (curves.of({"batch_size": size, "z_dim": 18, "lr": 1e-4})[0][-1] for size in (32, 64))
    assert large / small == pytest.approx(2, rel=0.05)
