"""Files that version 0.1.0 wrote are read, resumed, extended, reported and encoded.

tests/data/written_by_0.1/make.py made them.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from resvae_ray.data.dataset import Dataset
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.model.network import ResVAE
from resvae_ray.reporting.report import report
from resvae_ray.search.export import export
from resvae_ray.search.run.run import Run
from resvae_ray.search.tune import tune

WRITTEN = Path(__file__).parents[1] / "data" / "written_by_0.1"
EXPECTED = json.loads((WRITTEN / "expected.json").read_text())
RUNS = ("finished", "interrupted", "halfway")


@pytest.fixture
def written(tmp_path):
    return Path(shutil.copytree(WRITTEN, tmp_path / "written"))


def rows(table):
    return json.loads(table.to_json(orient="records", double_precision=15))


def epoch_lines(run):
    found = {}
    for file in ("epochs.jsonl", "finalists/epochs.jsonl"):
        if (run / file).exists():
            found[file] = (run / file).read_text().splitlines()
    return found


def check_ended(run, trials):
    """All trials and retrainings ended, and each has every epoch once."""
    status = run.status()
    assert status["state"] == "finished"
    assert sum(status["counts"][state] for state in ("complete", "pruned", "failed")) == trials
    assert status["finalist_trainings_left"] == 0
    assert status["chosen"] is not None
    assert [len(finalist.losses) for finalist in run.finalists()] == [2, 2]
    for record in run.records():
        assert [row["epoch"] for row in record.epochs] == list(range(1, record.last_epoch + 1))
    for repeat in (repeat for finalist in run.finalists() for repeat in finalist.repeats):
        assert [row["epoch"] for row in repeat.epochs] == [1, 2, 3, 4, 5]
    assert rows(run.trials()) == rows(Run.open(run.path).trials())
    assert (run.path / "model" / "model.safetensors").exists()


def check_kept(run, before, may_repeat=()):
    """Recorded lines are unchanged; only the last epoch of an interrupted training was trained again."""
    for file, lines in before.items():
        after = (run / file).read_text().splitlines()
        assert after[: len(lines)] == lines
        keys = [(row["number"], row.get("repeat"), row["epoch"]) for row in map(json.loads, after)]
        assert {key for key in keys if keys.count(key) > 1} <= set(may_repeat)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_read(written, name):
    run, expected = Run.open(written / name), EXPECTED[name]
    status = json.loads(json.dumps(run.status()))
    assert status.pop("last_epoch_s") > 0
    assert status.pop("enough") is None, "added later: why a search of automatic length ended"
    assert status == expected["status"]
    assert rows(run.trials()) == expected["trials"]
    assert rows(run.epochs()) == expected["epochs"]
    assert [finalist.row() for finalist in run.finalists()] == expected["finalists"]


@pytest.mark.parametrize("name", RUNS)
def test_its_tables_are_written_as_they_were(written, name):
    run = Run.open(written / name)
    before = {file.name: file.read_bytes() for file in run.path.glob("*.csv")}
    run.write_tables()
    assert {file.name: file.read_bytes() for file in run.path.glob("*.csv")} == before


def test_an_interrupted_search_is_resumed(ray_here, written):
    before = epoch_lines(written / "interrupted")
    run = tune(written / "dataset", written / "interrupted", resume=True)
    check_ended(run, 7)
    check_kept(run.path, before, may_repeat=[(3, None, 1)])
    assert rows(run.trials())[:3] == EXPECTED["interrupted"]["trials"][:3]
    assert rows(run.trials())[3]["hidden_dim"] == EXPECTED["interrupted"]["trials"][3]["hidden_dim"]


def test_an_interrupted_final_round_is_resumed(ray_here, written):
    before = epoch_lines(written / "halfway")
    ended = (written / "halfway" / "finalists" / "0000-0" / "result.json").read_bytes()
    run = tune(written / "dataset", written / "halfway", resume=True)
    check_ended(run, 7)
    check_kept(run.path, before, may_repeat=[(1, 0, 2)])
    assert (run.path / "finalists" / "0000-0" / "result.json").read_bytes() == ended
    assert rows(run.trials()) == EXPECTED["halfway"]["trials"]


def test_a_finished_search_is_extended(ray_here, written):
    before = epoch_lines(written / "finished")
    opened = Run.open(written / "finished")
    longer = replace(opened.config, search=replace(opened.config.search, trials=9))
    run = tune(written / "dataset", opened.path, longer, resume=True)
    check_ended(run, 9)
    check_kept(run.path, before)
    assert rows(run.trials())[:7] == EXPECTED["finished"]["trials"]


def test_a_run_is_reported(written):
    written_to = report(written / "finished")
    assert not {"history", "learning_curves", "timeline", "finalists"} & written_to.missing.keys()
    assert "122,819" in written_to.path.read_text()


def test_a_run_is_exported(written):
    export(written / "finished", written / "again")
    one, other = ResVAE.from_pretrained(written / "model"), ResVAE.from_pretrained(written / "again")
    for name, tensor in one.state_dict().items():
        assert (other.state_dict()[name] == tensor).all()


def test_a_model_encodes_what_it_encoded(ray_here, written):
    Dataset.open(written / "dataset")
    encode_features(written / "model", written / "dataset" / "val", written / "new.parquet")
    old, new = pq.read_table(written / "latents.parquet"), pq.read_table(written / "new.parquet")
    assert new.column("id").to_pylist() == old.column("id").to_pylist()
    np.testing.assert_allclose(np.stack(new["z"].to_numpy()), np.stack(old["z"].to_numpy()), rtol=1e-5, atol=1e-5)
