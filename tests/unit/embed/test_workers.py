"""Assignment of work to workers, and rejected settings."""

import pytest

from resvae_ray.embed.settings import Embedding
from resvae_ray.embed.workers import Workers, shares
from resvae_ray.errors import UsageError

TWO_GPUS = [{"CPU": 16.0, "GPU": 2.0}]
CORES = [{"CPU": 16.0}, {"CPU": 4.0}, {}]


@pytest.mark.parametrize(
    ("nodes", "workers", "share", "count", "threads"),
    [
        (TWO_GPUS, Workers(), {"num_gpus": 1.0, "max_calls": 0}, 2, 1),
        (TWO_GPUS, Workers(gpus=1), {"num_gpus": 1.0, "max_calls": 0}, 1, 1),
        (TWO_GPUS, Workers(count=3), {"num_gpus": 0.5, "max_calls": 0}, 3, 1),
        (TWO_GPUS, Workers(gpus=0), {"num_cpus": 4}, 4, 4),
        (CORES, Workers(), {"num_cpus": 4}, 5, 4),
        (CORES, Workers(count=1), {"num_cpus": 16}, 1, 16),
        (CORES, Workers(count=40), {"num_cpus": 1}, 40, 1),
        ([{"CPU": 2.0}], Workers(), {"num_cpus": 2}, 1, 2),
    ],
)
def test_shares(nodes, workers, share, count, threads):
    assert shares(nodes, workers, 1000) == (share, count, threads)


def test_there_are_no_more_workers_than_parts():
    assert shares(CORES, Workers(count=50), 2) == ({"num_cpus": 10}, 2, 10)
    assert shares(TWO_GPUS, Workers(count=50), 3) == ({"num_gpus": 0.5, "max_calls": 0}, 3, 1)
    assert shares(CORES, Workers(), 0) == ({"num_cpus": 16}, 1, 16)


def test_gpus_that_are_not_there_are_not_replaced_by_cores():
    with pytest.raises(UsageError, match="--gpus 3: Ray finds 2 here"):
        shares(TWO_GPUS, Workers(gpus=3), 1)


def test_settings_that_cannot_be_meant():
    for settings, message in (
        ({"pooling": "max"}, "--pooling max: expected one of cls, eos, mean, segments, pho, all"),
        ({"long": "cut"}, "--long cut: expected one of error, truncate, split"),
        ({"precision": "half"}, "--precision half"),
        ({"max_length": 0}, "--max-length 0: it must be at least 1"),
        ({"batch_tokens": -1}, "--batch-tokens -1"),
    ):
        with pytest.raises(UsageError, match=message):
            Embedding(**settings)
    for workers, message in (({"gpus": -1}, "--gpus -1"), ({"count": 0}, "--workers 0")):
        with pytest.raises(UsageError, match=message):
            Workers(**workers)
