import pytest

from resvae_ray.config import ResourcesConfig
from resvae_ray.errors import UsageError
from resvae_ray.search.resources import Slots, plan_slots

HEAD = {"CPU": 32}
WORKER = {"CPU": 4, "GPU": 1}


@pytest.mark.parametrize(
    ("nodes", "wanted", "slots"),
    [
        ([{"CPU": 2}], {}, Slots(1, 0, 2)),
        ([{"CPU": 1}], {}, Slots(1, 0, 1)),
        ([{"CPU": 64}], {}, Slots(8, 0, 8)),
        ([{"CPU": 12}], {}, Slots(1, 0, 8)),
        ([{"CPU": 64}], {"cpus_per_trial": 1}, Slots(1, 0, 50)),
        ([{"CPU": 64}], {"concurrent": 16}, Slots(4, 0, 16)),
        ([{"CPU": 2}], {"concurrent": 1}, Slots(2, 0, 1)),
        ([{"CPU": 8}], {"cpus_per_trial": 4}, Slots(4, 0, 2)),
        ([{"CPU": 16, "GPU": 1}], {}, Slots(4, 0.25, 4)),
        ([{"CPU": 64, "GPU": 4}], {}, Slots(8, 0.5, 8)),
        ([{"CPU": 64, "GPU": 16}], {}, Slots(4, 1, 16)),
        ([{"CPU": 2, "GPU": 4}], {"cpus_per_trial": 0.25, "gpus_per_trial": 0.5}, Slots(0.25, 0.5, 8)),
        ([{"CPU": 16, "GPU": 1}], {"gpus_per_trial": 0}, Slots(2, 0, 8)),
        ([{"CPU": 8, "GPU": 4}], {"gpus_per_trial": 0.6}, Slots(2, 0.6, 4)),
        ([{"CPU": 8, "GPU": 4}], {"gpus_per_trial": 2}, Slots(4, 2, 2)),
        ([{"CPU": 8, "GPU": 1}], {"concurrent": 64, "cpus_per_trial": 1}, Slots(1, 0.25, 64)),
        # Several nodes: a trial has to fit on one of them.
        ([{"CPU": 4}] * 16, {}, Slots(4, 0, 8)),
        ([HEAD, WORKER, WORKER, WORKER, WORKER], {}, Slots(2, 0.5, 8)),
        ([HEAD, WORKER, WORKER, WORKER, WORKER], {"gpus_per_trial": 0}, Slots(4, 0, 8)),
        ([{"CPU": 3}, {"CPU": 3}], {"cpus_per_trial": 2}, Slots(2, 0, 2)),
    ],
)
def test_unset_options_are_chosen(nodes, wanted, slots):
    assert plan_slots(ResourcesConfig(**wanted), nodes, 50) == slots


def test_no_more_slots_than_trials():
    assert plan_slots(ResourcesConfig(), [{"CPU": 64}], 3).concurrent == 3


def test_threads():
    assert Slots(0.25, 0.5, 8).threads == 1
    assert Slots(4, 0, 1).threads == 4


@pytest.mark.parametrize("wanted", [{"cpus_per_trial": 3}, {"gpus_per_trial": 1}])
def test_more_than_a_node_has(wanted):
    with pytest.raises(UsageError, match="lower --cpus-per-trial or --gpus-per-trial"):
        plan_slots(ResourcesConfig(**wanted), [{"CPU": 2}], 50)


def test_a_cluster_may_grow_to_the_requested_size():
    wanted = ResourcesConfig(gpus_per_trial=0.5, cpus_per_trial=2, concurrent=8, address="auto")
    assert plan_slots(wanted, [{"CPU": 0}], 50) == Slots(2, 0.5, 8)


@pytest.mark.parametrize("left_open", ["gpus_per_trial", "concurrent"])
def test_a_cluster_without_workers_yet_leaves_nothing_to_choose_from(left_open):
    """Otherwise the choice would be one trial at a time on the CPU cores of machines with GPUs."""
    wanted = {"gpus_per_trial": 0.5, "concurrent": 8, "address": "auto", left_open: None}
    with pytest.raises(UsageError, match="--gpus-per-trial .*--concurrent"):
        plan_slots(ResourcesConfig(**wanted), [{"CPU": 0}], 50)
