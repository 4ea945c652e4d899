"""The final round: which trials are retrained with which seeds, the exported model, and resuming after a kill."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ONE_AT_A_TIME, finish

from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import ResidentRows
from resvae_ray.model.network import ResVAE
from resvae_ray.model.validation import validate
from resvae_ray.search.run.run import Run
from resvae_ray.search.tune import tune

CONFIG = replace(
    ONE_AT_A_TIME,
    search=replace(ONE_AT_A_TIME.search, trials=4, finalists=2, seeds=2),
)
FIELDS = ("number", "losses", "mean", "gap")


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(100, 8)


def results(run):
    return [{name: finalist.row()[name] for name in FIELDS} for finalist in Run.open(run).finalists()]


@pytest.fixture(scope="module")
def undisturbed():
    """The finalists of an uninterrupted search; the first test that needs them fills it in."""
    return []


def test_the_configuration_with_the_lowest_mean_is_exported(ray_here, dataset, tmp_path, capfd, undisturbed):
    run = tune(dataset, tmp_path / "run", CONFIG)
    undisturbed[:] = results(run.path)
    finalists = run.finalists()
    assert [len(finalist.losses) for finalist in finalists] == [2, 2]
    assert len({loss for finalist in finalists for loss in finalist.losses}) == 4, "every training has its own seed"
    chosen = min(finalists, key=lambda finalist: np.mean(finalist.losses))
    about = json.loads((run.path / "model" / "config.json").read_text())
    assert about["search"]["trial"] == chosen.number
    assert about["finalists"]["mean"] == pytest.approx(np.mean(chosen.losses))
    assert about["best_val_loss"] == min(chosen.losses)
    model = ResVAE.from_pretrained(run.path / "model")
    rows = ResidentRows.decode(Dataset.open(dataset).features("val"))
    assert validate(model, rows, CONFIG.training.metric).loss == about["best_val_loss"]
    assert not list((run.path / "finalists").glob("*/resume.safetensors"))
    assert capfd.readouterr().err.count("finalist trial") == 4


def test_a_finished_search_gets_finalists(ray_here, dataset, tmp_path):
    without = replace(CONFIG, search=replace(CONFIG.search, finalists=0))
    run = tune(dataset, tmp_path / "run", without)
    assert not run.finalists()
    assert run.status()["state"] == "finished"
    asked = tune(dataset, tmp_path / "run", CONFIG, resume=True)
    assert [len(finalist.losses) for finalist in asked.finalists()] == [2, 2]


def test_kill_9_in_the_final_round(ray_here, dataset, tmp_path, start, write_config, undisturbed):
    killed = start("tune", dataset, tmp_path / "run", "--config", write_config(CONFIG))
    wait_for_result(tmp_path / "run", killed)
    killed.kill()
    killed.wait()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("finalists/*/result.json")}
    assert 1 <= len(before) < 4
    assert Run.open(tmp_path / "run").status()["state"] == "interrupted"
    finish(start("tune", dataset, tmp_path / "run", "--resume"))
    undisturbed = undisturbed or results(tune(dataset, tmp_path / "undisturbed", CONFIG).path)
    assert results(tmp_path / "run") == undisturbed
    assert all(path.stat().st_mtime_ns == written for path, written in before.items()), "none was trained twice"


def wait_for_result(run: Path, process):
    for _ in range(4000):
        assert process.poll() is None, process.communicate()[1]
        if list(run.glob("finalists/*/result.json")):
            return
        time.sleep(0.02)
    raise AssertionError(f"{run}: no retraining ended")
