# pyright: reportArgumentType=false

import io
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from resvae_ray.config import Config, SearchConfig
from resvae_ray.data.dataset import Dataset
from resvae_ray.search.callbacks import console as progress_module
from resvae_ray.search.callbacks.console import ConsoleProgress
from resvae_ray.search.run.run import Run


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def run(make_dataset, tmp_path):
    return Run.create(tmp_path / "run", Config(), Dataset.open(make_dataset(30, 4)), {"study": "s"})


def trial(number, last_result=None):
    params = {"z_dim": 18, "hidden_dim": 859, "lr": 4.69e-4}
    return SimpleNamespace(config={"number": number, "params": params}, last_result=last_result)


def result(epoch, loss, device="cuda"):
    return {"epoch": epoch, "best_val_loss": loss, "best_epoch": epoch, "device": device}


def play(progress):
    """Trial 0 completes, 1 is pruned, 2 fails, 3 is still running."""
    for number in range(4):
        progress.on_trial_start(0, [], trial(number))
    for epoch in range(1, 81):
        progress.on_trial_result(0, [], trial(0), result(epoch, 30000.0 - epoch))
    progress.on_trial_complete(0, [], trial(0, result(80, 29920.0)))
    progress.on_trial_result(0, [], trial(1), result(10, 50000.0))
    progress.on_trial_complete(0, [], trial(1, result(10, 50000.0)))
    progress.on_trial_complete(0, [], trial(2, {**result(1, 7.0), "failure": "the loss is nan"}))
    progress.on_trial_result(0, [], trial(3), result(1, 60000.0))
    progress.close()


def test_a_log_file_gets_a_line_a_trial(run):
    stream = io.StringIO()
    play(ConsoleProgress(run, True, stream))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert (
        "trial   0 complete after  80 epochs: 29,920.00 at epoch 80   z_dim=18 hidden_dim=859 lr=0.000469" in lines[0]
    )
    assert "trial   1 pruned   after  10 epochs: 50,000.00" in lines[1]
    assert "trial   2 failed   after   0 epochs: the loss is nan" in lines[2]
    assert "3/50 trials, 1 running, 1 pruned, 1 failed, best 29,920.00 (trial 0 z_dim=18" in lines[2]
    assert re.search(r"about .* left\]$", lines[2])
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_a_line_that_renews_itself(run, monkeypatch):
    monkeypatch.setattr(progress_module, "RENEW_S", 0.0)
    stream = Terminal()
    play(ConsoleProgress(run, True, stream))
    text = stream.getvalue()
    assert text.count("\n") == 3
    assert text.count("\r\033[K0/50 trials, 4 running") == 80
    assert text.endswith("\r\033[K")


def test_a_long_trial_is_heard_of_in_a_log_file(run, monkeypatch):
    monkeypatch.setattr(progress_module, "LOG_S", 0.0)
    stream = io.StringIO()
    progress = ConsoleProgress(run, True, stream)
    progress.on_trial_start(0, [], trial(0))
    progress.on_trial_result(0, [], trial(0), result(1, 9.0))
    assert stream.getvalue().startswith("0/50 trials, 1 running, 0 pruned, best 9.00")


def test_a_gpu_that_torch_does_not_find_is_said_once(run):
    stream = io.StringIO()
    progress = ConsoleProgress(run, True, stream)
    for epoch in (1, 2):
        progress.on_trial_result(0, [], trial(0), result(epoch, 9.0, "cpu"))
    assert stream.getvalue().count("they train on the CPU") == 1


def test_a_pause_is_a_line_and_a_promotion_is_none(make_dataset, tmp_path):
    config = replace(Config(), search=SearchConfig(scheduler="promote"))
    run = Run.create(tmp_path / "run", config, Dataset.open(make_dataset(30, 4)), {"study": "s"})
    stream = io.StringIO()
    progress = ConsoleProgress(run, False, stream)

    def stretch(number, paused_at, until, last_result=None):
        task = trial(number, last_result)
        task.config |= {"paused_at": paused_at, "until": until}
        return task

    for number in range(2):
        progress.on_trial_start(0, [], stretch(number, 0, 10))
        progress.on_trial_result(0, [], stretch(number, 0, 10), result(10, 50000.0))
        progress.on_trial_complete(0, [], stretch(number, 0, 10, result(10, 50000.0)))
    progress.on_trial_start(0, [], stretch(1, 10, 80))
    progress.on_trial_complete(0, [], stretch(1, 10, 80, result(80, 30000.0)))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert "trial   1 paused   after  10 epochs: 50,000.00 at epoch 10" in lines[1]
    assert "0/50 trials, 0 running, 2 paused, 0 pruned" in lines[1]
    assert "trial   1 complete" in lines[2]
    assert "1/50 trials, 0 running, 1 paused, 0 pruned" in lines[2]
