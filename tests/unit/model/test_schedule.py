import numpy as np
import pytest

from resvae_ray.config import SCHEDULES, TrainingConfig
from resvae_ray.model.schedule import kld_weight, learning_rate


def rates(schedule, warmup=0.0):
    config = TrainingConfig(lr=2.0, schedule=schedule, warmup=warmup)
    return np.array([learning_rate(config, done) for done in np.linspace(0, 1, 1001)])


def test_constant():
    assert set(rates("constant")) == {2.0}


def test_cosine():
    found = rates("cosine")
    assert (found[0], found[500], found[1000]) == pytest.approx((2.0, 1.0, 0.0))
    assert (np.diff(found) <= 0).all()


@pytest.mark.parametrize("schedule", ["constant", "cosine", "wsd"])
def test_warm_up_is_a_line_from_0_to_lr(schedule):
    found = rates(schedule, 0.1)
    assert found[:101] == pytest.approx(np.linspace(0, 2, 101))
    assert found.max() == found[100] == 2.0


def test_one_cycle_is_as_torch_has_it():
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2.0, total_steps=1001, pct_start=0.3, final_div_factor=400.0
    )
    expected = []
    for _ in range(1001):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 1001:
            scheduler.step()
    # torch counts its 30 % from step -1, so that the two are apart by a step or so
    assert rates("one_cycle") == pytest.approx(np.array(expected), abs=0.02)
    assert rates("one_cycle")[-1] == pytest.approx(2e-4)


def test_wsd_is_flat_and_then_falls_to_0():
    found = rates("wsd", 0.05)
    assert set(found[50:801]) == {2.0}
    assert found[850] == pytest.approx(1.0)
    assert found[1000] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_never_negative_nor_above_lr(schedule):
    for warmup in (0.0, 0.05, 0.5, 0.8):
        found = rates(schedule, warmup)
        assert (found >= 0).all()
        assert found.max() <= 2.0


def test_kld_weight():
    config = TrainingConfig(kld_warmup=0.5)
    assert [kld_weight(config, done) for done in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    assert kld_weight(TrainingConfig(), 0.0) == 1.0
