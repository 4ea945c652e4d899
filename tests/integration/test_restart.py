"""A search that is killed, stopped or limited in time, and then resumed. With one trial at a time on a CPU, it must
produce exactly the numbers of an uninterrupted search."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ONE_AT_A_TIME, children, command_line, finish, outcome, wait_for_epochs

from resvae_ray.config import SearchConfig
from resvae_ray.search.run.run import Run
from resvae_ray.search.study import frozen_trials

CONFIG = replace(ONE_AT_A_TIME, search=replace(ONE_AT_A_TIME.search, trials=6))


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(100, 8)


@pytest.fixture(scope="module")
def undisturbed():
    """The outcome of an uninterrupted search; the first test that needs it fills it in."""
    return {}


@pytest.fixture
def expected(undisturbed, dataset, tmp_path, start, write_config):
    if not undisturbed:
        finish(start("tune", dataset, tmp_path / "undisturbed", "--config", write_config(CONFIG)))
        undisturbed["outcome"] = outcome(tmp_path / "undisturbed")
    return undisturbed["outcome"]


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def repeated(run):
    """The number of epochs that the record holds more than once."""
    lines = [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]
    return len(lines) - len({(line["number"], line["epoch"]) for line in lines})


def check(run, expected, kills, lost=1):
    """Each trial is recorded once, no trial is left running, and the numbers equal those of an uninterrupted search.

    Args:
        kills: number of interruptions.
        lost: number of epochs since a trial's last checkpoint, which each interruption may repeat.
    """
    assert outcome(run) == expected
    assert repeated(run) <= kills * lost, "no finished trial ran again, and no trial from its beginning"
    opened = Run.open(run)
    trials = frozen_trials(run / "study.journal", opened.info["study"])
    assert [trial.number for trial in trials] == list(range(6))
    assert all(trial.state.is_finished() for trial in trials)
    assert (run / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(("epochs", "every_s", "lost"), [(1, 0.0, 1), (13, 1e9, 4), (25, 0.0, 1)])
def test_kill_9_of_the_driver(epochs, every_s, lost, dataset, expected, tmp_path, start, write_config):
    config = replace(CONFIG, search=replace(CONFIG.search, checkpoint_every_s=every_s))
    process = start("tune", dataset, tmp_path / "run", "--config", write_config(config))
    wait_for_epochs(tmp_path / "run", epochs, process)
    process.kill()
    process.wait()
    status = Run.open(tmp_path / "run").status()
    assert status["state"] == "interrupted"
    ended = [row for row in outcome(tmp_path / "run") if row[1] in ("complete", "pruned")]
    before = (tmp_path / "run" / "epochs.jsonl").stat().st_size
    finish(start("tune", dataset, tmp_path / "run", "--resume"))
    check(tmp_path / "run", expected, kills=1, lost=lost)
    after = (tmp_path / "run" / "epochs.jsonl").read_text()[before:].splitlines()
    assert not {row[0] for row in ended} & {json.loads(line)["number"] for line in after if line.startswith("{")}


def test_kill_9_twice_and_a_torn_line(dataset, expected, tmp_path, start, write_config):
    process = start("tune", dataset, tmp_path / "run", "--config", write_config(CONFIG))
    wait_for_epochs(tmp_path / "run", 4, process)
    process.kill()
    process.wait()
    for name in ("epochs.jsonl", "study.journal"):
        with (tmp_path / "run" / name).open("a") as file:
            file.write('{"number": 0, "epoch"')
    process = start("tune", dataset, tmp_path / "run", "--resume")
    wait_for_epochs(tmp_path / "run", 15, process)
    process.kill()
    process.wait()
    finish(start("tune", dataset, tmp_path / "run", "--resume"))
    check(tmp_path / "run", expected, kills=2)


def test_kill_9_of_a_worker(dataset, expected, tmp_path, start, write_config):
    process = start("tune", dataset, tmp_path / "run", "--config", write_config(CONFIG))
    for epochs in (3, 14):
        wait_for_epochs(tmp_path / "run", epochs, process)
        trials = [pid for pid in children(process.pid) if command_line(pid).startswith("ray::ImplicitFunc")]
        assert trials
        for pid in trials:
            os.kill(pid, signal.SIGKILL)
    finish(process)
    check(tmp_path / "run", expected, kills=2)


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the driver", "to its process group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["INT", "TERM", "HUP"])
def test_a_stop_in_good_order(number, send, dataset, expected, tmp_path, start, write_config):
    process = start("tune", dataset, tmp_path / "run", "--config", write_config(CONFIG))
    wait_for_epochs(tmp_path / "run", 10, process)
    below = children(process.pid)
    send(process.pid, number)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        f"resvae-ray: stopped; resume with: resvae-ray tune {dataset} {tmp_path / 'run'} --resume"
    )
    assert "Traceback" not in err
    assert "GCS" not in err
    assert all(is_gone(pid) for pid in below)
    assert not (tmp_path / "run" / "run.lock").read_text()
    assert (tmp_path / "run" / "trials.csv").exists()
    out, _ = finish(start("status", tmp_path / "run"))
    assert "interrupted" in out
    assert f"tune {dataset} {tmp_path / 'run'} --resume" in out
    finish(start("tune", dataset, tmp_path / "run", "--resume"))
    check(tmp_path / "run", expected, kills=1)


def test_a_time_limit_and_going_on(dataset, tmp_path, start, write_config):
    config = replace(
        CONFIG,
        training=replace(CONFIG.training, epochs=600),
        search=SearchConfig(trials=2, grace=600, max_hours=15 / 3600, checkpoint_every_s=0.0),
    )
    out, _ = finish(start("tune", dataset, tmp_path / "run", "--config", write_config(config)))
    assert "stopped by --max-hours; resume with" in out
    status = Run.open(tmp_path / "run").status()
    assert status["state"] == "interrupted"
    assert 0 < status["epochs"] < 1200
    assert (tmp_path / "run" / "model").exists(), "what was best so far can be used"
    finish(start("tune", dataset, tmp_path / "run", "--resume", "--max-hours", 0))
    assert Run.open(tmp_path / "run").status()["counts"]["complete"] == 2


def test_a_second_driver_is_refused_and_workers_end_with_a_killed_one(dataset, tmp_path, start, write_config):
    config = replace(CONFIG, training=replace(CONFIG.training, epochs=5000), search=SearchConfig(grace=5000))
    first = start("tune", dataset, tmp_path / "run", "--config", write_config(config))
    wait_for_epochs(tmp_path / "run", 1, first)
    second = start("tune", dataset, tmp_path / "run", "--resume")
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"a search is running in it (process {first.pid} on " in err
    # Two small Ray agents outlive a killed driver by about a minute while they try to report the loss of its node.
    below = [pid for pid in children(first.pid) if "Agent" not in command_line(pid)]
    first.kill()
    first.wait()
    for _ in range(200):
        if all(is_gone(pid) for pid in below):
            return
        time.sleep(0.1)
    raise AssertionError([command_line(pid) for pid in below if not is_gone(pid)])
