"""Out of memory: retried once with less memory, then reported."""

import ctypes
import gc
import itertools
import subprocess
import sys
import weakref

import pyarrow as pa
import pytest
import torch

from resvae_ray import names
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import ResidentRows, StreamedRows
from resvae_ray.search import trial as trial_module
from resvae_ray.search.trial import ShortOfMemory, TrainingJob, ran_out, run_training, with_less_if_short

CUDA = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")


def exhaust_cpu():
    torch.empty(1 << 60)


@pytest.mark.parametrize("error", [MemoryError(), pa.ArrowMemoryError("malloc of size 1 failed"), CUDA])
def test_out_of_memory_errors_are_recognised(error):
    assert ran_out(error)


def test_torch_s_own_words_on_the_cpu():
    with pytest.raises(RuntimeError) as caught:
        exhaust_cpu()
    assert ran_out(caught.value)
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out(ValueError("out of memory"))


LEFT_BEHIND = """
import gc, threading
from pathlib import Path
import numpy as np
from resvae_ray.search.trial import give_back

def resident():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024

kept = []

def train():  # blocks that are freed between blocks that are not, in a thread of its own, as a trial is
    blocks = []
    for _ in range(2500):
        blocks.append(np.ones(12_500))
        kept.append(np.ones(200))

thread = threading.Thread(target=train)
thread.start()
thread.join()
gc.collect()
left = resident()
give_back()
print(left, resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_memory_freed_by_an_ended_trial_is_released():
    found = subprocess.run([sys.executable, "-c", LEFT_BEHIND], capture_output=True, text=True, check=True)
    left, after = map(int, found.stdout.split())
    assert left - after > 200, "of the 240 MB that were freed"


def test_a_trial_begins_by_giving_back(monkeypatch, tmp_path):
    order = []
    monkeypatch.setattr(trial_module, "give_back", lambda: order.append("give back"))
    monkeypatch.setattr(trial_module, "_attempt", lambda *_: order.append("train") or {})
    job = TrainingJob("d", "f", str(tmp_path), {}, {}, 0, (), 30.0, 1, False)
    trial_module._run(job, {}, 0, tmp_path)
    assert order == ["give back", "train"]


def test_other_errors_are_not_tried_again():
    with pytest.raises(RuntimeError, match="another"):
        with_less_if_short(lambda: (_ for _ in ()).throw(RuntimeError("another")), lambda: pytest.fail("tried again"))


def test_memory_of_the_first_attempt_is_free_before_the_second():
    class Rows:
        pass

    held = []

    def usual():
        rows = Rows()
        held.append(weakref.ref(rows))
        exhaust_cpu()

    assert with_less_if_short(usual, lambda: held[0]()) is None


def test_out_of_memory_twice_is_reported():
    with pytest.raises(ShortOfMemory, match="also with its rows streamed: .*can't allocate memory"):
        with_less_if_short(exhaust_cpu, exhaust_cpu)


@pytest.fixture
def work(make_dataset, tmp_path, monkeypatch):
    """Runs a trial as Ray would and returns its reports."""
    dataset = Dataset.open(make_dataset(60, 6))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / names.RUN_FILE).write_text("{}")
    training = {"z_dim": 2, "hidden_dim": 8, "epochs": 2, "batch_size": 8}
    data = {"mode": "resident", "resident_budget_mb": 10.0, "shuffle_buffer_mb": 1.0}
    job = TrainingJob(
        str(dataset.path), dataset.fingerprint, str(tmp_path / "run"), training, data, 0, (), 1e9, 1, False
    )
    reports = []
    monkeypatch.setattr(trial_module.tune, "report", reports.append)
    trial_module._rows.cache_clear()

    def run():
        run_training({"job": vars(job), "number": 0, "params": {"lr": 1e-3}})
        trial_module._rows.cache_clear()
        gc.collect()
        return reports

    return run


@pytest.mark.parametrize("error", [CUDA, MemoryError("unable to allocate")])
def test_a_trial_that_runs_out_of_memory_resumes_with_streamed_rows(error, work, monkeypatch):
    def decode(*_):
        raise error

    streamed = []
    monkeypatch.setattr(ResidentRows, "decode", decode)
    begin = StreamedRows.shuffled
    monkeypatch.setattr(StreamedRows, "shuffled", lambda self, *a: streamed.append(self) or begin(self, *a))
    reports = work()
    assert [report[names.EPOCH] for report in reports] == [1, 2]
    assert not any(names.FAILURE in report for report in reports)
    assert len(streamed) == 2


def test_a_trial_that_runs_out_of_memory_twice_fails_with_its_own_message(work, monkeypatch):
    def step(*_):
        raise CUDA

    monkeypatch.setattr(trial_module.Training, "_step", step)
    reports = work()
    assert len(reports) == 1
    assert reports[0][names.FAILURE].startswith("out of memory, also with its rows streamed: CUDA out of memory")


def test_a_step_that_runs_out_of_memory_resumes_from_the_checkpoint(work, monkeypatch):
    """Epoch 1 is saved and not trained again."""
    step, calls = trial_module.Training._step, []

    def short_once(self, *arguments):
        calls.append(self.epoch)
        if calls.count(1) == 1 and self.epoch == 1:
            raise CUDA
        return step(self, *arguments)

    monkeypatch.setattr(trial_module.Training, "_step", short_once)
    monkeypatch.setattr(trial_module.time, "monotonic", itertools.count(0, 10**10).__next__)  # saved every epoch
    reports = work()
    assert [report[names.EPOCH] for report in reports] == [1, 1, 2]  # a resumed trial reports its epoch
    assert calls.count(0) == 6
