"""Listeners get an epoch, a failure or a fault, however Ray Tune carries it."""

import pytest

from resvae_ray.config import TrainingConfig
from resvae_ray.search.final_round import Retrainings
from resvae_ray.search.run.trainings import TrainingRecord
from resvae_ray.search.worker_report import Epoch, Failed, Fault, TrainingTask, decode, task_of

METRICS = {"epoch": 3, "best_val_loss": 7.0, "best_epoch": 2, "val_loss": 8.0}
RAYS_OWN = {"training_iteration": 4, "hostname": "node-a", "time_total_s": 1.0}


def test_an_epoch():
    report = decode(Epoch(METRICS, device="cuda").as_result() | RAYS_OWN)
    assert isinstance(report, Epoch)
    assert (report.epoch, report.best_val_loss, report.best_epoch) == (3, 7.0, 2)
    assert (report.node, report.device, report.metrics["val_loss"]) == ("node-a", "cuda", 8.0)


@pytest.mark.parametrize(("short", "last"), [(False, METRICS), (True, {}), (False, {})])
def test_a_failure(short, last):
    result = Failed("the loss is nan", short, last).as_result() | RAYS_OWN
    report = decode(result)
    assert isinstance(report, Failed)
    assert (report.reason, report.short_of_memory) == ("the loss is nan", short)
    assert result["epoch"] == last.get("epoch", 0), "the scheduler asks each result for it"
    assert result["best_val_loss"] == last.get("best_val_loss", float("inf"))


def test_a_fault():
    assert decode(Fault("the disk is full").as_result() | RAYS_OWN) == Fault("the disk is full")


@pytest.mark.parametrize("result", [None, {}, RAYS_OWN])
def test_no_report_yet(result):
    assert decode(result) is None


@pytest.mark.parametrize("repeat", [None, 0, 2])
def test_a_task_travels_in_a_configuration(repeat):
    task = TrainingTask(4, {"z_dim": 18}, repeat)
    assert task_of(task.as_config() | {"job": {}}) == task


def test_retrainings_are_proposed_in_their_order():
    records = [TrainingRecord(number, "pending", {"z_dim": number}, repeat=1) for number in (5, 2)]
    searcher = Retrainings(records)
    assert [task_of(searcher.suggest(name)).number for name in "ab"] == [5, 2]
    assert searcher.suggest("c") == Retrainings.FINISHED


def test_where_a_training_pauses():
    training = TrainingConfig(epochs=80, patience=5)
    task = TrainingTask(3, {"z_dim": 2}, paused_at=10, until=30)
    assert task_of(task.as_config()) == task
    assert not task.pauses(Epoch({"epoch": 29, "best_epoch": 29}), training)
    assert task.pauses(Epoch({"epoch": 30, "best_epoch": 29}), training)
    assert not task.pauses(Epoch({"epoch": 30, "best_epoch": 25}), training), "it has ended for want of patience"
    assert not TrainingTask(3, {}, until=80).pauses(Epoch({"epoch": 80, "best_epoch": 80}), training)
    assert not TrainingTask(3, {}).pauses(Epoch({"epoch": 30, "best_epoch": 30}), training)
