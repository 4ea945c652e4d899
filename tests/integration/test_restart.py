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

from resvae_ray.cli import main
from resvae_ray.config import SearchConfig
from resvae_ray.search.run.run import Run
from resvae_ray.search.study import frozen_trials
from resvae_ray.search.tune import tune

CONFIG = replace(ONE_AT_A_TIME, search=replace(ONE_AT_A_TIME.search, trials=6))
LONGER = replace(CONFIG, training=replace(CONFIG.training, epochs=60))  # long enough for six interruptions


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(100, 8)


@pytest.fixture(scope="module")
def undisturbed():
    """The outcomes of uninterrupted searches, by the epochs of a trial; the first test that needs one fills it in."""
    return {}


@pytest.fixture
def expected(undisturbed, dataset, tmp_path, ray_here):
    """The outcome of an uninterrupted search with a configuration."""

    def find(config):
        length = config.training.epochs
        if length not in undisturbed:
            undisturbed[length] = outcome(tune(dataset, tmp_path / "undisturbed", config).path)
        return undisturbed[length]

    return find


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


def ended(run):
    return {number for number, state, *_ in outcome(run) if state in ("complete", "pruned")}


def tear(run):
    """As a write leaves a file that a kill cuts off."""
    for name in ("epochs.jsonl", "study.journal"):
        with (run / name).open("a") as file:
            file.write('{"number": 0, "epoch"')


def wait_for_more(run, epochs, process):
    """Waits until the search has recorded this number of epochs in the session that has just begun."""
    before = (run / "epochs.jsonl").read_text() if (run / "epochs.jsonl").exists() else ""
    wait_for_epochs(run, before.count("\n") + epochs, process)


@pytest.mark.timeout(600)  # five sessions
@pytest.mark.parametrize(
    ("config", "kills", "every_s", "lost"),
    [(LONGER, [(1, False), (4, True), (9, True), (7, False)], 0.0, 1), (CONFIG, [(13, False)], 1e9, 4)],
    ids=["saved at each epoch", "saved at rungs"],
)
def test_kill_9_of_the_driver(config, kills, every_s, lost, dataset, expected, tmp_path, start, write_config):
    """Killed after this many epochs, each time in the session that resumed it; some kills tear the last lines."""
    run, saved = tmp_path / "run", replace(config, search=replace(config.search, checkpoint_every_s=every_s))
    process = start("tune", dataset, run, "--config", write_config(saved))
    sessions = []
    for epochs, torn in kills:
        wait_for_more(run, epochs, process)
        process.kill()
        process.wait()
        assert Run.open(run).status()["state"] == "interrupted"
        sessions.append((ended(run), (run / "epochs.jsonl").stat().st_size))
        if torn:
            tear(run)
        process = start("tune", dataset, run, "--resume")
    finish(process)
    check(run, expected(config), kills=len(kills), lost=lost)
    content = (run / "epochs.jsonl").read_text()
    for done, size in sessions:
        later = {json.loads(line)["number"] for line in content[size:].splitlines() if line.startswith("{")}
        assert not done & later, "no trial that had ended ran again"


def test_kill_9_of_a_worker(dataset, expected, tmp_path, start, write_config):
    process = start("tune", dataset, tmp_path / "run", "--config", write_config(CONFIG))
    for epochs in (3, 14):
        wait_for_epochs(tmp_path / "run", epochs, process)
        trials = [pid for pid in children(process.pid) if command_line(pid).startswith("ray::ImplicitFunc")]
        assert trials
        for pid in trials:
            os.kill(pid, signal.SIGKILL)
    finish(process)
    check(tmp_path / "run", expected(CONFIG), kills=2)


STOPS = [(number, send) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) for send in (os.kill, os.killpg)]


@pytest.mark.timeout(600)  # seven sessions
def test_a_stop_in_good_order(dataset, expected, tmp_path, start, write_config, capsys):
    """By each signal to the driver and to its process group, each time in the session that resumed the search."""
    run = tmp_path / "run"
    process = start("tune", dataset, run, "--config", write_config(LONGER))
    for number, send in STOPS:
        wait_for_more(run, 3, process)
        stopped_in_good_order(process, number, send, dataset, run)
        capsys.readouterr()
        assert main(["status", str(run)]) == 0
        out = capsys.readouterr().out
        assert "interrupted" in out
        assert f"tune {dataset} {run} --resume" in out
        process = start("tune", dataset, run, "--resume")
    finish(process)
    check(run, expected(LONGER), kills=len(STOPS))


def stopped_in_good_order(process, number, send, dataset, run):
    below = children(process.pid)
    send(process.pid, number)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 130, (number, send)
    assert err.splitlines()[-1] == f"resvae-ray: stopped; resume with: resvae-ray tune {dataset} {run} --resume"
    assert "Traceback" not in err
    assert "GCS" not in err
    assert all(is_gone(pid) for pid in below), (number, send)
    assert not (run / "run.lock").read_text()
    assert (run / "trials.csv").exists()


def test_a_time_limit_and_going_on(dataset, tmp_path, start, write_config):
    config = replace(
        CONFIG,
        training=replace(CONFIG.training, epochs=400),
        search=SearchConfig(trials=2, grace=400, max_hours=15 / 3600, checkpoint_every_s=0.0),
    )
    out, _ = finish(start("tune", dataset, tmp_path / "run", "--config", write_config(config)))
    assert "stopped by --max-hours; resume with" in out
    status = Run.open(tmp_path / "run").status()
    assert status["state"] == "interrupted"
    assert 0 < status["epochs"] < 800
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
