"""The whole flow with everything in a bucket, on a real S3 server: the results equal those on a disk."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace

import optuna
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ONE_AT_A_TIME, finish, outcome
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from resvae_ray.cli import main
from resvae_ray.files.place import BucketPlace, place
from resvae_ray.model.network import ResVAE
from resvae_ray.search.run.run import Run

CONFIG = replace(
    ONE_AT_A_TIME,
    search=replace(ONE_AT_A_TIME.search, trials=4, finalists=1, seeds=2),
    training=replace(ONE_AT_A_TIME.training, epochs=6),
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home folder that holds the working copies."""
    monkeypatch.setenv("RESVAE_RAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def prepare(root, features):
    assert main(["import", str(features), f"{root}/features.parquet"]) == 0
    assert main(["split", f"{root}/features.parquet", f"{root}/dataset"]) == 0


def apply(root, start):
    """Encodes in processes of their own: a Ray that was started before the bucket was known has no key to it."""
    assert main(["export", f"{root}/run", f"{root}/model"]) == 0
    finish(start("encode", f"{root}/model", f"{root}/features.parquet", f"{root}/latents.parquet"))
    finish(start("encode", f"{root}/model", f"{root}/dataset", f"{root}/both"))


def content(path):
    return place(path).read_bytes()


def weights(model):
    return ResVAE.from_pretrained(model).state_dict()


def ended(journal, study):
    """How many trials have ended, by the journal as it is in the bucket."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    trials = optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)
    return sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)


def wait_for_journal(root, folder, process, count):
    """Waits until the journal in the bucket records this number of ended trials, while the search runs."""
    run, folder = BucketPlace(f"{root}/run"), folder / "seen"
    for _ in range(1200):
        assert process.poll() is None, process.communicate()[1]
        if (run / "study.journal").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            (run / "study.journal").download(folder / "study.journal")
            found = ended(folder / "study.journal", json.loads((run / "run.json").read_text())["study"])
            if found >= count:
                return found
        time.sleep(0.1)
    raise AssertionError("the journal did not come")


@pytest.mark.timeout(900)  # three searches, four encodings
def test_killed_and_resumed_elsewhere_equals_a_run_on_a_disk(
    bucket, home, make_features, start, write_config, tmp_path, capsys, monkeypatch
):
    features, config, disk = make_features(100, 8), write_config(CONFIG), str(tmp_path / "disk")
    for root in (bucket, disk):
        prepare(root, features)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH")))))
    finish(start("tune", f"{disk}/dataset", f"{disk}/run", "--config", config))

    process = start("tune", f"{bucket}/dataset", f"{bucket}/run", "--config", config)
    assert wait_for_journal(bucket, tmp_path, process, 1) < 4, "in the middle of the search"
    assert Run.open(f"{bucket}/run").status()["state"] == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    status = Run.open(f"{bucket}/run").status()
    assert status["state"] == "interrupted"
    assert status["counts"]["pending"] > 0

    # As on another machine, which has nothing but the bucket.
    shutil.rmtree(home)
    finish(start("tune", f"{bucket}/dataset", f"{bucket}/run", "--resume"))
    run = Run.open(f"{bucket}/run")
    assert run.status()["state"] == "finished"
    assert outcome(f"{bucket}/run") == outcome(f"{disk}/run")
    there = BucketPlace(f"{bucket}/run").files()
    assert not [name for name in there if name.endswith("resume.safetensors") or "/." in name or name == "run.lock"]
    for name in ("run.json", "trials.csv", "trials.parquet", "best.csv", "model/config.json", "finalists/choice.json"):
        assert name in there
    assert any("events.out.tfevents" in name for name in there)

    for root in (bucket, disk):
        apply(root, start)
    expected = weights(f"{disk}/run/model")
    for model in (f"{bucket}/run/model", f"{bucket}/model", f"{disk}/model"):
        found = weights(model)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert content(f"{bucket}/latents.parquet") == content(f"{disk}/latents.parquet")
    for side in ("train", "val"):
        part = f"both/{side}/part-00000.parquet"
        assert content(f"{bucket}/{part}") == content(f"{disk}/{part}")
    assert pq.ParquetFile(f"{disk}/latents.parquet").metadata.num_rows == 100
    assert not [name for name in BucketPlace(bucket).files() if ".parts" in name or "_uploading" in name]

    capsys.readouterr()
    assert main(["evaluate", f"{bucket}/model", f"{bucket}/dataset", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained_on"] is True
    assert main(["status", f"{bucket}/run"]) == 0
    assert f"{bucket}/run: finished; " in capsys.readouterr().out
    assert main(["tune", f"{bucket}/dataset", f"{bucket}/run", "--config", str(config)]) == 2
    assert "already holds a run; resume it with --resume" in capsys.readouterr().err
