"""A RUN in a bucket, from its creation to the exported model, without Ray: trained by the function that Ray runs."""

import signal
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, replace

import pytest
import torch

from resvae_ray import names
from resvae_ray.config import Config, DataConfig, Domain, SearchConfig, TrainingConfig
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.files.place import BucketPlace
from resvae_ray.model.network import ResVAE
from resvae_ray.search import trial
from resvae_ray.search.callbacks.recorder import EpochLog
from resvae_ray.search.export import export
from resvae_ray.search.run import lock as lock_module
from resvae_ray.search.run.run import Run, refuse_existing_run
from resvae_ray.search.run.session import created, taken_up
from resvae_ray.search.study import open_study, start_study
from resvae_ray.search.trial import TrainingJob, run_training
from resvae_ray.search.worker_report import Epoch

CONFIG = Config(
    space={"z_dim": Domain(2, 4)},
    training=TrainingConfig(epochs=3, hidden_dim=8),
    search=SearchConfig(trials=1, try_first=True),
    data=DataConfig(mode="resident"),
)
PARAMS = {"z_dim": 3}


def search(root, reported, monkeypatch):
    """One trial of a search."""
    log = None

    def report(metrics):
        log.write(0, Epoch(metrics))
        reported.append(metrics[names.EPOCH])

    monkeypatch.setattr(trial.tune, "report", report)
    dataset = Dataset.open(f"{root}/dataset")
    with created(f"{root}/run", CONFIG, dataset, {"study": "s"}) as run, ExitStack() as stack:
        study = open_study(run.path / names.JOURNAL_FILE, "s")
        start_study(study, replace(CONFIG, training=replace(CONFIG.training, **PARAMS)))
        asked = study.ask()
        asked.suggest_int("z_dim", 2, 4)
        log = stack.enter_context(closing(EpochLog(run.path / names.EPOCHS_FILE)))
        job = TrainingJob(
            dataset=str(dataset.path),
            fingerprint=dataset.fingerprint,
            run=str(run.where),
            training=asdict(CONFIG.training),
            data=asdict(CONFIG.data),
            seed=0,
            save_epochs=(),
            save_every_s=0.0,
            threads=1,
            gpu=False,
        )
        try:
            run_training({"job": asdict(job), names.NUMBER: 0, "params": PARAMS})
            study.tell(asked, 1.0)
        finally:
            run.write_tables()
            run.send()
    return Run.open(f"{root}/run")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RESVAE_RAY_HOME", str(tmp_path / "home"))


def test_from_its_creation_to_the_model(bucket, make_features, monkeypatch, tmp_path):
    split_features(make_features(60, 6), f"{bucket}/dataset")
    reported = []
    with pytest.raises(DataError, match=f"{bucket}/run: not a RUN"):
        Run.open(f"{bucket}/run")
    run = search(bucket, reported, monkeypatch)
    assert reported == [1, 2, 3]
    assert run.where == BucketPlace(f"{bucket}/run")
    assert run.status()["counts"]["complete"] == 1
    assert run.status()["worker"] is None
    with pytest.raises(UsageError, match="already holds a run"):
        Run.create(f"{bucket}/run", CONFIG, Dataset.open(f"{bucket}/dataset"), {"study": "s"})
    made = export(f"{bucket}/run", f"{bucket}/model")
    assert made == BucketPlace(f"{bucket}/model")
    best = min(run.records()[0].epochs, key=lambda row: row["val_loss"])
    assert run.weights().epoch == best["epoch"]
    export(f"{bucket}/run", tmp_path / "model")
    here, there = (ResVAE.from_pretrained(path).state_dict() for path in (tmp_path / "model", f"{bucket}/model"))
    assert all(torch.equal(here[name], there[name]) for name in here)


def test_the_second_of_two_searches_in_one_place_changes_nothing(bucket, make_features, tmp_path):
    dataset = split_features(make_features(60, 6), tmp_path / "dataset")
    path = f"{bucket}/run"
    with created(path, CONFIG, dataset, {"study": "first"}) as run:
        (run.path / names.EPOCHS_FILE).write_text("")
        begun = replace(CONFIG, name="second")
        with (
            pytest.raises(UsageError, match="run.lock: a search is run"),
            created(path, begun, dataset, {"study": "second"}),
        ):
            pass
        assert (run.path / names.EPOCHS_FILE).exists()
    assert Run.open(path).info["study"] == "first"
    with pytest.raises(UsageError, match="already holds a run"), created(path, begun, dataset, {"study": "second"}):
        pass
    with taken_up(path) as run:
        assert run.info["study"] == "first"


def test_a_search_considered_dead_is_stopped(bucket, make_features, tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "BEAT_S", 0.05)
    dataset = split_features(make_features(60, 6), tmp_path / "dataset")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), created(f"{bucket}/run", CONFIG, dataset, {"study": "s"}) as run:
            while True:  # a heartbeat may be on its way
                (run.where / names.LOCK_FILE).write_bytes(b"process 2 on elsewhere x\n")
                time.sleep(0.1)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(JobError, match="process 2 on elsewhere took over this search"):
        run.send()


def test_a_lock_left_before_a_search_began_is_not_a_run(bucket, make_features, tmp_path):
    dataset = split_features(make_features(60, 6), tmp_path / "dataset")
    (BucketPlace(f"{bucket}/run") / names.LOCK_FILE).write_bytes(b"process 999999999 on here x\n")
    refuse_existing_run(BucketPlace(f"{bucket}/run"))
    with pytest.raises(DataError, match="not a RUN"), taken_up(f"{bucket}/run"):
        pass
    (BucketPlace(f"{bucket}/run") / "other").write_bytes(b"x")
    with pytest.raises(UsageError, match="already there"):
        Run.create(f"{bucket}/run", CONFIG, dataset, {"study": "s"})
