"""A search that pauses and promotes trials: on one and two slots, killed, stopped, extended, and what shows it."""

# pyright: reportAttributeAccessIssue=false

import json
import os
import signal
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
from conftest import ONE_AT_A_TIME, children, command_line, finish, outcome, wait_for_epochs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from resvae_ray.cli import main
from resvae_ray.config import PROMOTE
from resvae_ray.errors import UsageError
from resvae_ray.search.run.run import Run
from resvae_ray.search.rungs import rung_epochs
from resvae_ray.search.study import frozen_trials
from resvae_ray.search.tune import tune

CONFIG = replace(
    ONE_AT_A_TIME,
    training=replace(ONE_AT_A_TIME.training, epochs=12),
    search=replace(ONE_AT_A_TIME.search, trials=7, startup_trials=3, scheduler=PROMOTE),
)
TWO_SLOTS = replace(CONFIG, resources=replace(CONFIG.resources, concurrent=2))
RUNGS = rung_epochs(CONFIG)  # 2, 4, 8


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(100, 8)


@pytest.fixture(scope="module")
def undisturbed():
    """The outcome of an uninterrupted search; the first test that needs it fills it in."""
    return []


@pytest.fixture
def expected(undisturbed, dataset, tmp_path, ray_here):
    if not undisturbed:
        undisturbed.append(outcome(tune(dataset, tmp_path / "undisturbed", CONFIG).path))
    return undisturbed[0]


def lengths(run):
    return [len(epochs) for *_, epochs in outcome(run)]


def check(run, trials=7):
    """Each trial has ended, at a rung or at its end, and nothing of a paused one is left."""
    opened = Run.open(run)
    records = opened.records()
    assert [record.number for record in records] == list(range(trials))
    for record in records:
        assert [row["epoch"] for row in record.epochs] == list(range(1, record.last_epoch + 1))
        assert record.last_epoch == 12 if record.state == "complete" else record.last_epoch in RUNGS
    assert {record.state for record in records} == {"complete", "pruned"}
    frozen = frozen_trials(run / "study.journal", opened.info["study"])
    for trial, record in zip(frozen, records, strict=True):
        assert trial.state.name.lower() == record.state
        assert sorted(trial.intermediate_values) == list(range(1, record.last_epoch + 1))
        assert trial.value == record.best_val_loss
    table = pd.read_parquet(run / "trials.parquet")
    assert table["state"].tolist() == [record.state for record in records]
    assert not list(run.rglob("resume.safetensors"))
    assert (run / "model" / "model.safetensors").exists()
    assert opened.status()["state"] == "finished"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("config", [CONFIG, TWO_SLOTS], ids=["one slot", "two slots"])
def test_every_trial_pauses_and_the_best_go_on(config, ray_here, dataset, tmp_path, capfd):
    """Tune's limit of concurrent trials counts no paused one, or the search would hang at two trials."""
    run = tune(dataset, tmp_path / "run", config)
    check(run.path)
    counts = Counter(lengths(run.path))
    assert counts[2] >= 2
    assert counts[12] >= 1
    err = capfd.readouterr().err
    paused = [line for line in err.splitlines() if " paused " in line]
    assert len(paused) == sum(sum(rung <= length for rung in RUNGS) for length in lengths(run.path))
    assert "paused, 0 pruned" in paused[0]


@pytest.mark.timeout(600)
def test_kill_9_of_the_driver(dataset, expected, tmp_path, start, write_config, capsys):
    run = tmp_path / "run"
    process = start("tune", dataset, run, "--config", write_config(CONFIG))
    for epochs in (3, 17):  # in the first stretch of a trial, and after promotions
        before = len((run / "epochs.jsonl").read_text().splitlines()) if (run / "epochs.jsonl").exists() else 0
        wait_for_epochs(run, before + epochs, process)
        process.kill()
        process.wait()
        status = Run.open(run).status()
        assert status["state"] == "interrupted"
        assert status["counts"]["running"] == 0
        process = start("tune", dataset, run, "--resume")
    finish(process)
    assert outcome(run) == expected
    check(run)


@pytest.mark.timeout(300)
def test_kill_9_of_a_worker(dataset, expected, tmp_path, start, write_config):
    process = start("tune", dataset, tmp_path / "run", "--config", write_config(CONFIG))
    for epochs in (3, 14, 20):
        wait_for_epochs(tmp_path / "run", epochs, process)
        for pid in [pid for pid in children(process.pid) if command_line(pid).startswith("ray::ImplicitFunc")]:
            os.kill(pid, signal.SIGKILL)
    finish(process)
    assert outcome(tmp_path / "run") == expected
    check(tmp_path / "run")


@pytest.mark.timeout(300)
def test_a_stop_in_good_order_and_who_is_paused(dataset, expected, tmp_path, start, write_config, capsys):
    run = tmp_path / "run"
    process = start("tune", dataset, run, "--config", write_config(CONFIG))
    wait_for_epochs(run, 13, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 130, err
    counts = Run.open(run).status()["counts"]
    assert list(counts) == ["pending", "running", "paused", "complete", "pruned", "failed"]
    assert counts["paused"] >= 2
    assert counts["pruned"] == 0
    assert sum(counts.values()) == 7
    assert main(["status", str(run)]) == 0
    assert f"{counts['paused']} paused" in capsys.readouterr().out
    assert main(["report", str(run)]) == 0
    page = (run / "report" / "report.html").read_text()
    assert "Paused there, and may continue" in page
    finish(start("tune", dataset, run, "--resume"))
    assert outcome(run) == expected
    check(run)


@pytest.mark.timeout(300)
def test_a_longer_search_promotes_trials_that_were_paused(ray_here, dataset, tmp_path):
    """They have kept no state: they train again what they had, with the same result."""
    run = tune(dataset, tmp_path / "run", CONFIG)
    before = outcome(run.path)
    longer = tune(dataset, run.path, replace(run.config, search=replace(CONFIG.search, trials=16)), resume=True)
    check(run.path, trials=16)
    after = outcome(longer.path)
    further = [old[0] for old, new in zip(before, after, strict=False) if len(new[3]) > len(old[3])]
    assert further, "none was promoted"
    for old, new in zip(before, after, strict=False):
        assert new[2] == old[2]
        assert new[3][: len(old[3])] == old[3]
    assert longer.info["study"] != run.info["study"]
    again = tune(dataset, run.path, resume=True)
    assert outcome(again.path) == after, "a finished search stays as it is"
    assert again.info["study"] == longer.info["study"]


@pytest.mark.timeout(300)
def test_finalists_follow(ray_here, dataset, tmp_path):
    config = replace(CONFIG, search=replace(CONFIG.search, trials=4, finalists=1, seeds=1))
    run = tune(dataset, tmp_path / "run", config)
    assert len(run.finalists()) == 1
    assert run.status()["chosen"]
    check(run.path, trials=4)


@pytest.mark.timeout(300)
def test_tensorboard_has_an_end_for_each_trial(ray_here, dataset, tmp_path):
    run = tune(dataset, tmp_path / "run", CONFIG)
    folders = sorted((run.path / "tune").glob("trial_*"))
    with_events = [folder for folder in folders if list(folder.glob("events.*"))]
    assert len(with_events) == 7
    for folder, length in zip(with_events, lengths(run.path), strict=True):
        events = EventAccumulator(str(folder)).Reload()
        content = metadata.parse_session_end_info_plugin_data(
            events.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
        )
        assert content.status == api_pb2.STATUS_SUCCESS
        assert [each.step for each in events.Scalars("loss/validation")] == list(range(1, length + 1))


@pytest.mark.timeout(300)
def test_a_time_limit(dataset, tmp_path, start, write_config):
    slow = replace(CONFIG, training=replace(CONFIG.training, epochs=4000), search=replace(CONFIG.search, trials=3))
    slow = replace(slow, search=replace(slow.search, grace=200, reduction_factor=2.0, max_hours=12 / 3600))
    out, _ = finish(start("tune", dataset, tmp_path / "run", "--config", write_config(slow)))
    assert "stopped by --max-hours; resume with" in out
    counts = Run.open(tmp_path / "run").status()["counts"]
    assert counts["pruned"] == counts["complete"] == 0


def test_the_scheduler_of_a_run_stays(ray_here, dataset, tmp_path):
    run = tune(dataset, tmp_path / "run", replace(CONFIG, search=replace(CONFIG.search, trials=1)))
    other = replace(run.config, search=replace(run.config.search, scheduler="stop"))
    with pytest.raises(UsageError, match=r"search.scheduler = promote, not stop; a change needs a new run"):
        tune(dataset, run.path, other, resume=True)


def test_a_setting_of_the_file_the_options_and_the_record(ray_here, dataset, tmp_path, capsys):
    arguments = ["--config", "quick", "--scheduler", "promote", "--trials", "1", "--epochs", "2", "--concurrent", "1"]
    assert main(["tune", str(dataset), str(tmp_path / "run"), *arguments]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["search"]["scheduler"] == "promote"
    assert 'scheduler = "promote"' in (tmp_path / "run" / "search.toml").read_text()
