"""Readers that do what no reader should, for test_apart.py."""

import os
import signal
import time

import numpy as np
import pyarrow as pa

from resvae_ray.data.schema import FeatureBatch
from resvae_ray.errors import UsageError


def batch_of(matrix):
    return FeatureBatch(
        pa.array([f"P{n}" for n in range(20)]), matrix, pa.table({"label": ["a"] * 20}), {"sheet": "one"}
    )


def loops(source, choice):
    yield batch_of(np.ones((20, 3), np.float32))
    while True:
        pass


def crashes(source, choice):
    yield batch_of(np.ones((20, 3), np.float32))
    os.kill(os.getpid(), signal.SIGSEGV)


def is_killed(source, choice):
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def refuses(source, choice):
    raise UsageError(f"{source}: --sheet {choice.sheet}: no such sheet")
    yield


def goes_on_for_ever(source, choice):
    while True:
        yield batch_of(np.ones((20, 3), np.float32))


def sleeps(source, choice):
    time.sleep(3)
    yield batch_of(np.ones((20, 3), np.float32))
