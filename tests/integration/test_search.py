"""A complete search, and whether its reports are true."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false
# pyright: reportPrivateImportUsage=false
# The tests assert what a search has; they do not narrow its type.

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ONE_AT_A_TIME, SMALL, outcome
from optuna.trial import TrialState
from ray.air.execution._internal import event_manager
from ray.exceptions import OutOfMemoryError
from ray.tune import Tuner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from resvae_ray.cli import main
from resvae_ray.config import Domain, SearchConfig
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.stream import ResidentRows
from resvae_ray.data.synthetic import synthetic_batches
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.encode.latents import Output
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.model import checkpoint
from resvae_ray.model.network import ResVAE
from resvae_ray.model.validation import PAPER_BATCH, validate, validation_noise
from resvae_ray.search.export import export
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import training_folder
from resvae_ray.search.study import frozen_trials
from resvae_ray.search.tune import tune

pytestmark = pytest.mark.usefixtures("ray_here")


@pytest.fixture(scope="module")
def searched(ray_here, tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    with FeaturesWriter(folder / "features.parquet", 10, {"model": "SYNTHETIC"}) as writer:
        for batch in synthetic_batches(150, 10):
            writer.write(batch)
    dataset = split_features(folder / "features.parquet", folder / "dataset")
    # One at a time: which trials ASHA stops does not depend on which reports first.
    return dataset, tune(dataset.path, folder / "run", ONE_AT_A_TIME)


def test_a_search_from_end_to_end(searched, tmp_path):
    dataset, run = searched
    records = run.records()
    frozen = frozen_trials(run.path / "study.journal", run.info["study"])
    assert run.status()["state"] == "finished"
    assert run.status()["counts"]["complete"] + run.status()["counts"]["pruned"] == 8
    check_what_the_study_was_told(records, frozen)
    check_the_best_is_exported(dataset, run, tmp_path)
    check_tables(run)
    check_tensorboard(run)
    check_nothing_superfluous_is_kept(run)


def check_what_the_study_was_told(records, frozen):
    assert {trial.state for trial in frozen} == {TrialState.COMPLETE, TrialState.PRUNED}
    for record, trial in zip(records, frozen, strict=True):
        reported = {row["epoch"]: row["best_val_loss"] for row in record.epochs}
        assert list(reported) == list(range(1, record.last_epoch + 1))
        assert trial.intermediate_values == reported
        assert trial.value == record.best_val_loss
        assert (trial.state == TrialState.COMPLETE) == (record.last_epoch == SMALL.training.epochs)
        assert record.last_epoch in (2, 4, 8, 9), "trials end at rungs or at their full length"


def check_the_best_is_exported(dataset, run, tmp_path):
    best = run.best()
    assert best.best_val_loss == min(row["val_loss"] for record in run.records() for row in record.epochs)
    model = ResVAE.from_pretrained(export(run.path, tmp_path / "model"))
    rows = ResidentRows.decode(dataset.features("val"))
    training = replace(run.config.training, **best.params)
    assert validate(model, rows, training.metric).loss == best.best_val_loss
    assert encoded_loss(model, dataset, tmp_path) == pytest.approx(best.best_val_loss, rel=1e-6)
    for name, tensor in ResVAE.from_pretrained(run.path / "model").state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def encoded_loss(model, dataset, tmp_path):
    """The validation loss from the latents that `encode` writes, put together by hand."""
    encode_features(tmp_path / "model", dataset.path / "val", tmp_path / "val.parquet", Output(logvar=True))
    table = pd.read_parquet(tmp_path / "val.parquet")
    mu, logvar = (torch.from_numpy(np.stack(table[name])) for name in ("z", "logvar"))
    x = torch.from_numpy(np.concatenate([batch.features for batch in dataset.features("val").batches()]))
    with torch.no_grad():
        reconstruction = model.decode(mu + torch.exp(logvar / 2) * validation_noise(0, len(mu), model.z_dim))
    error = (reconstruction - x).pow(2).sum(1).double()
    kld = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).double()
    return sum(float(part.sum()) * len(part) for part in (1000 * error + kld).split(PAPER_BATCH)) / len(x)


def check_tables(run):
    trials = pd.read_csv(run.path / "trials.csv")
    assert sorted(trials.number) == list(range(8))
    assert trials.best_val_loss.min() == pytest.approx(run.best().best_val_loss, rel=1e-12)
    best = pd.read_csv(run.path / "best.csv")
    assert best.z_dim[0] == run.best().params["z_dim"]


def check_tensorboard(run):
    """Every trial is in the HPARAMS table, with an end, and has all its epochs."""
    for record in run.records():
        (folder,) = (run.path / "tune").glob(f"trial_{record.number:04d}_*")
        events = EventAccumulator(str(folder)).Reload()
        tags = events.SummaryMetadata
        assert tags("_hparams_/session_start_info")
        assert tags("_hparams_/session_end_info")
        assert [scalar.step for scalar in events.Scalars("loss/validation")] == [row["epoch"] for row in record.epochs]
    assert EventAccumulator(str(run.path / "tune")).Reload().SummaryMetadata("_hparams_/experiment")


def check_nothing_superfluous_is_kept(run):
    for record in run.records():
        files = [path.name for path in training_folder(run.path, record.number).iterdir()]
        assert files == [checkpoint.best_path(run.path, record.best["epoch"]).name]


def test_the_same_seed_gives_the_same_study_bit_for_bit(make_dataset, tmp_path):
    dataset = make_dataset(100, 8)
    runs = [tune(dataset, tmp_path / name, ONE_AT_A_TIME) for name in ("a", "b")]
    assert outcome(runs[0].path) == outcome(runs[1].path)
    weights = [(run.path / "model" / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]


def test_a_diverging_configuration_costs_one_trial(make_dataset, tmp_path):
    space = {**SMALL.space, "lr": Domain(choices=(1e-3, 1e30))}
    config = replace(ONE_AT_A_TIME, space=space, search=replace(SMALL.search, seed=1))
    run = tune(make_dataset(100, 8), tmp_path / "run", config)
    records = run.records()
    failed = [record for record in records if record.params["lr"] == 1e30]
    assert failed
    assert all(record.state == "failed" for record in failed)
    assert all("not finite at step" in record.failure or "validation loss is" in record.failure for record in failed)
    assert all(record.state in ("complete", "pruned") for record in records if record.params["lr"] == 1e-3)
    told = {trial.number: trial.state for trial in frozen_trials(run.path / "study.journal", run.info["study"])}
    assert all(told[record.number] == TrialState.FAIL for record in failed)
    assert len(records) == 8
    assert all(math.isfinite(row["val_loss"]) for record in records for row in record.epochs)


def test_a_search_in_which_every_trial_fails_says_why(make_dataset, tmp_path):
    config = replace(SMALL, space={"lr": Domain(choices=(1e30, 1e29))}, search=SearchConfig(trials=2))
    with pytest.raises(JobError, match="every trial failed; the first failure: .*(not finite|validation loss)"):
        tune(make_dataset(60, 8), tmp_path / "run", config)
    assert Run.open(tmp_path / "run").status()["counts"]["failed"] == 2


@pytest.fixture
def any_size(monkeypatch):
    """Lets a search start regardless of the disk space that its networks need."""
    monkeypatch.setattr("resvae_ray.search.run.disk_space.require_space", lambda *_: None)


def test_a_crash_is_tried_again_then_recorded_and_passed_over(make_dataset, tmp_path, any_size):
    """A network whose bytes 64 bits cannot count crashes its trial."""
    space = {**SMALL.space, "z_dim": Domain(choices=(3, 2**62))}
    config = replace(SMALL, space=space, search=replace(SMALL.search, trials=4, max_failures=1))
    run = tune(make_dataset(60, 8), tmp_path / "run", config)
    crashed = [record for record in run.records() if record.params["z_dim"] > 3]
    assert crashed
    assert len(run.records()) == 4
    for record in run.records():
        assert (record.state == "failed") == (record in crashed)
    for record in crashed:
        assert "overflow" in record.failure.lower()
        text = (training_folder(run.path, record.number) / "error.txt").read_text()
        assert text.count("Failure #") == 2, "it was tried twice"
    assert run.status()["failures"][0]["number"] == crashed[0].number


def test_a_search_that_ends_by_itself(searched, tmp_path):
    """Its trials differ in their seeds alone, so that more than TPE needs to begin soon pay no longer."""
    config = replace(
        ONE_AT_A_TIME,
        space={"hidden_dim": Domain(8, 8)},
        training=replace(SMALL.training, epochs=2),
        search=replace(SMALL.search, trials="auto", startup_trials=2),
    )
    dataset, path = searched[0].path, tmp_path / "run"
    first = tune(dataset, path, config).status()
    trials = first["counts"]["complete"]
    assert (first["state"], first["counts"]["pending"]) == ("finished", 0)
    assert 4 <= trials < 50
    assert first["enough"].startswith(f"the last {trials // 2} of {trials} trials lowered the loss by ")
    again = tune(dataset, path, resume=True).status()
    assert (again["counts"], again["enough"]) == (first["counts"], first["enough"])
    longer = replace(config, search=replace(config.search, trials=trials + 1))
    extended = tune(dataset, path, longer, resume=True).status()
    assert (extended["state"], extended["counts"]["complete"], extended["enough"]) == ("finished", trials + 1, None)


def test_more_trials_extend_a_finished_search(make_dataset, tmp_path):
    dataset = make_dataset(100, 8)
    whole = tune(dataset, tmp_path / "whole", replace(ONE_AT_A_TIME, search=replace(SMALL.search, trials=6)))
    tune(dataset, tmp_path / "run", replace(ONE_AT_A_TIME, search=replace(SMALL.search, trials=3)))
    before = outcome(tmp_path / "run")
    run = Run.open(tmp_path / "run")
    more = replace(run.config, search=replace(run.config.search, trials=6))
    extended = tune(dataset, run.path, more, resume=True)
    assert outcome(run.path)[:3] == before
    assert outcome(run.path) == outcome(whole.path), "what was learned is used: the proposals are those of one search"
    assert len(extended.info["sessions"]) == 2
    assert (
        tune(dataset, run.path, resume=True).status()["counts"]["complete"] + extended.status()["counts"]["pruned"] == 6
    )


def test_four_gpus_at_half_a_gpu_run_eight_trials_at_a_time(make_dataset, tmp_path):
    config = replace(
        SMALL,
        training=replace(SMALL.training, epochs=150),
        search=SearchConfig(trials=8, grace=150, checkpoint_every_s=60.0),
        resources=replace(SMALL.resources, gpus_per_trial=0.5, cpus_per_trial=0.5, concurrent=None),
    )
    run = tune(make_dataset(100, 8), tmp_path / "run", config)
    assert run.info["sessions"][0]["slots"] == {"cpus": 0.5, "gpus": 0.5, "concurrent": 8}
    spans = [(record.epochs[0]["time"], record.epochs[-1]["time"]) for record in run.records()]
    assert len(spans) == 8
    assert max(begin for begin, _ in spans) < min(end for _, end in spans), "there is a moment when all eight run"


def test_a_stream_searches_like_resident_rows(make_dataset, tmp_path):
    config = replace(ONE_AT_A_TIME, data=replace(SMALL.data, mode="stream", shuffle_buffer_mb=0.001))
    run = tune(make_dataset(100, 8), tmp_path / "run", replace(config, search=replace(config.search, trials=2)))
    assert Run.open(run.path).config.data.mode == "stream"
    for record in run.records():
        assert record.best_val_loss < record.epochs[0]["val_loss"], "it learns"


def test_a_fault_of_the_data_ends_the_search_and_costs_no_trial(make_dataset, tmp_path, monkeypatch):
    dataset = make_dataset(100, 8)
    content = json.loads((dataset / "dataset.json").read_text())
    original = Run.begin_session

    def change_data(self, *args):
        (dataset / "dataset.json").write_text(json.dumps(content | {"fingerprint": "another"}))
        return original(self, *args)

    with monkeypatch.context() as patch, pytest.raises(JobError, match="its content is not what the search began with"):
        patch.setattr(Run, "begin_session", change_data)
        tune(dataset, tmp_path / "run", SMALL)
    assert Run.open(tmp_path / "run").status()["counts"]["failed"] == 0
    (dataset / "dataset.json").write_text(json.dumps(content))
    assert tune(dataset, tmp_path / "run", resume=True).status()["state"] == "finished"


@pytest.mark.parametrize("much", [10**13, 2**62], ids=["more than the memory", "more than 64 bits count"])
def test_an_error_in_every_trial_ends_the_search_early(much, make_dataset, tmp_path, any_size):
    space = {**SMALL.space, "z_dim": Domain(choices=(much, much + 1))}
    config = replace(ONE_AT_A_TIME, space=space, search=replace(SMALL.search, trials=40, max_failures=0))
    with pytest.raises(JobError, match="5 trials in a row ended before their first epoch; .* --resume"):
        tune(make_dataset(60, 8), tmp_path / "run", config)
    counts = Run.open(tmp_path / "run").status()["counts"]
    assert counts["failed"] <= 6
    assert counts["pending"] >= 34


def test_a_search_over_beta_is_judged_by_one_beta(make_dataset, tmp_path):
    space = {"beta": Domain(10, 1000, log=True), "lr": Domain(1e-3, 1e-2)}
    config = replace(ONE_AT_A_TIME, space=space, search=replace(SMALL.search, trials=4, grace=9))
    dataset = Dataset.open(make_dataset(100, 8))
    run = tune(dataset.path, tmp_path / "run", config)
    model = ResVAE.from_pretrained(run.path / "model")
    rows = ResidentRows.decode(dataset.features("val"))
    assert validate(model, rows, config.training.metric).loss == run.best().best_val_loss
    assert not float(run.best().params["beta"]).is_integer()


def test_a_folder_with_another_run_is_left_alone(searched):
    dataset, run = searched
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(UsageError, match="already holds a run; resume it with --resume"):
        tune(dataset.path, run.path, SMALL)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_other_data_is_refused_on_resume(searched, make_dataset):
    _, run = searched
    with pytest.raises(DataError, match="is not what"):
        tune(make_dataset(150, 10, "other", seed=4), run.path, resume=True)


def test_the_card_describes_the_search_and_the_evaluation(searched, tmp_path, capsys):
    dataset, run = searched
    model = export(run.path, tmp_path / "model", torch_export=True)
    counts, best = run.status()["counts"], run.best()
    assert main(["evaluate", str(model), str(dataset.path), "--write-card"]) == 0
    assert "Labels: 4 classes, " in capsys.readouterr().out
    card = (model / "README.md").read_text()
    for name, value in {
        "trial": best.number,
        "complete": counts["complete"],
        "pruned": counts["pruned"],
        "epochs": run.status()["epochs"],
        "seed": 0,
        "best_epoch": best.best_epoch,
        "model": "SYNTHETIC",
        "split": "rule random, val_fraction 0.2, seed 0",
    }.items():
        assert f"| {name} | {value} |" in card
    assert "| Res-VAE, posterior mean |" in card
    assert "another DATASET" not in card


MEMORY = OutOfMemoryError("2 worker(s) were killed due to the node running low on memory.\nmore")


def test_a_worker_killed_for_memory_costs_no_trial(searched, tmp_path, monkeypatch, capfd):
    """Tune treats such a kill as its own error and ends while other workers live; the search continues."""
    undisturbed = tune(searched[0].path, tmp_path / "undisturbed", ONE_AT_A_TIME)
    real, results = event_manager.ray.get, []

    def get(future):
        found = real(future)
        if isinstance(found, list | dict):  # what a trial reports
            results.append(found)
        if len(results) == 12 and MEMORY not in results:
            results.append(MEMORY)
            raise MEMORY
        return found

    monkeypatch.setattr(event_manager, "ray", SimpleNamespace(get=get, wait=event_manager.ray.wait))
    run = tune(searched[0].path, tmp_path / "run", ONE_AT_A_TIME)
    assert MEMORY in results
    assert outcome(run.path) == outcome(undisturbed.path)
    assert "low on memory: resuming from the checkpoints" in capfd.readouterr().err


def test_a_node_without_memory_ends_a_search_with_the_command_to_resume(searched, tmp_path, monkeypatch):
    def fit(tuner):
        raise RuntimeError("Caught unexpected exception") from MEMORY

    monkeypatch.setattr(Tuner, "fit", fit)
    with pytest.raises(
        JobError, match=r"Ray gave up: 2 worker\(s\) were killed .* low on memory.; resume with: resvae"
    ):
        tune(searched[0].path, tmp_path / "run", ONE_AT_A_TIME)
