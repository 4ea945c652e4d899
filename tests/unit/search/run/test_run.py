import json
from dataclasses import replace

import optuna
import pandas as pd
import pytest
import torch

from resvae_ray.config import Config, Domain, SearchConfig
from resvae_ray.data.dataset import Dataset
from resvae_ray.errors import DataError, UsageError
from resvae_ray.model.tensor_file import write_tensors
from resvae_ray.search.resume import first_config, resumed_config
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.session import created
from resvae_ray.search.run.trainings import training_folder, trial_folders
from resvae_ray.search.study import open_study
from resvae_ray.search.tpe import StudySearch

CONFIG = replace(
    Config(),
    search=SearchConfig(trials=5),
    training=replace(Config().training, epochs=4),
    data=replace(Config().data, mode="resident"),
)


@pytest.fixture
def dataset(make_dataset):
    return Dataset.open(make_dataset(30, 4))


@pytest.fixture
def run(dataset, tmp_path):
    return Run.create(tmp_path / "run", CONFIG, dataset, {"study": "s"})


def write_epoch(run, number, epoch, loss, **more):
    row = {
        "number": number,
        "epoch": epoch,
        "val_loss": loss,
        "seconds": 2.0,
        "node": "host",
        "time": 10.0 * epoch,
        **more,
    }
    with (run.path / "epochs.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


@pytest.fixture
def used(run):
    """Trial 0 complete, best at epoch 2; 1 pruned; 2 failed; 3 running."""
    searcher = StudySearch(open_study(run.path / "study.journal", "s"), CONFIG, [])
    for name in "abcd":
        searcher.suggest(name)
    for number, losses in enumerate([[9, 3, 5, 4], [8, 7], [6], [20]]):
        for epoch, loss in enumerate(losses, 1):
            write_epoch(run, number, epoch, float(loss))
    searcher.on_trial_complete("a", {"epoch": 4, "best_val_loss": 3.0})
    searcher.on_trial_complete("b", {"epoch": 2, "best_val_loss": 7.0})
    searcher.on_trial_complete("c", {"epoch": 1, "best_val_loss": 6.0, "failure": "NaN"})
    training_folder(run.path, 2).mkdir(parents=True)
    (training_folder(run.path, 2) / "error.txt").write_text("Traceback\nthe loss is nan\n")
    return run


def test_the_resolved_configuration_is_on_the_disk_before_anything_runs(run, dataset):
    content = json.loads((run.path / "run.json").read_text())
    assert content["config"]["training"]["epochs"] == 4
    assert content["dataset"]["fingerprint"] == dataset.fingerprint
    assert Run.open(run.path).config == CONFIG


def test_trials(used):
    trials = used.trials()
    assert list(trials.number) == [0, 1, 2, 3]
    assert list(trials.state) == ["complete", "pruned", "failed", "running"]
    assert list(trials.best_val_loss) == [3.0, 7.0, 6.0, 20.0]
    assert list(trials.best_epoch) == [2, 2, 1, 1]
    assert list(trials.epochs) == [4, 2, 1, 1]
    assert list(trials.seconds) == [8.0, 4.0, 2.0, 2.0]
    assert trials.failure[2] == "the loss is nan"
    assert trials.z_dim.dtype == "Int64"


def test_a_repeated_epoch_counts_once_and_its_last_report_holds(used):
    write_epoch(used, 3, 1, 18.0)
    write_epoch(used, 3, 2, 19.0)
    trials = used.trials()
    assert (trials.best_val_loss[3], trials.epochs[3], trials.seconds[3]) == (18.0, 2, 4.0)


def test_a_partial_line_is_skipped(used):
    with (used.path / "epochs.jsonl").open("a") as file:
        file.write('{"number": 3, "ep')
    assert used.trials().epochs[3] == 1


def test_best_is_the_best_of_all_epochs(used):
    best = used.best()
    assert (best.number, best.best_val_loss, best.best_epoch) == (0, 3.0, 2)
    assert isinstance(best.params["z_dim"], int)


def test_status(used):
    with used.lock():
        status = used.status()
    assert status["state"] == "running"
    assert status["counts"] == {"pending": 1, "running": 1, "complete": 1, "pruned": 1, "failed": 1}
    assert status["best"]["number"] == 0
    assert set(status["best"]) == {"number", "params", "best_val_loss", "best_epoch"}
    assert status["running"] == [{"number": 3, "repeat": None, "epochs": 1, "best_val_loss": 20.0, "node": "host"}]
    assert status["failures"] == [{"number": 2, "repeat": None, "failure": "the loss is nan"}]
    assert status["epochs"] == 8
    json.dumps(status, allow_nan=False)


def test_status_of_a_search_that_was_killed(used):
    status = used.status()
    assert status["state"] == "interrupted"
    assert status["counts"] == {"pending": 2, "running": 0, "complete": 1, "pruned": 1, "failed": 1}


def test_status_before_anything_happened(run):
    assert run.status()["counts"]["pending"] == 5
    assert run.status()["best"] is None
    json.dumps(run.status(), allow_nan=False)


def test_tables(used):
    used.write_tables()
    trials = pd.read_csv(used.path / "trials.csv")
    assert list(trials.columns) == [
        "number", "state", "z_dim", "hidden_dim", "lr", "best_val_loss", "best_epoch", "epochs", "seconds", "node",
        "failure",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(pd.read_parquet(used.path / "trials.parquet"), used.trials(), check_dtype=False)
    assert not (used.path / "best.csv").exists()
    save_weights(used, 0, 2, 3.0)
    used.write_tables()
    best = pd.read_csv(used.path / "best.csv")
    assert list(best.columns) == [
        "model", "z_dim", "hidden_dim", "learning_rate", "eval_loss", "loss_type", "epoch", "input_dim",
    ]  # fmt: skip
    assert (best.eval_loss[0], best.epoch[0], best.input_dim[0]) == (3.0, 2, 4)


def test_reading_writes_nothing(used):
    before = {path: path.stat().st_mtime_ns for path in used.path.rglob("*")}
    Run.open(used.path).status()
    assert {path: path.stat().st_mtime_ns for path in used.path.rglob("*")} == before


def test_a_second_writer_is_refused(run):
    with run.lock():
        assert run.status()["state"] == "running"
        with pytest.raises(UsageError, match=r"a search is running in it \(process \d+ on "), run.lock():
            pass
    assert run.status()["state"] == "interrupted"


def test_another_run_is_left_alone(run, dataset, tmp_path):
    with pytest.raises(UsageError, match="already holds a run; resume it with --resume"):
        Run.create(run.path, CONFIG, dataset, {})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").touch()
    with pytest.raises(UsageError, match="already there"):
        Run.create(tmp_path / "other", CONFIG, dataset, {})
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize("content", ["{}", "not json", '{"config": {"search": {"trials": -1}}}'])
def test_a_damaged_run(run, content):
    (run.path / "run.json").write_text(content)
    with pytest.raises(DataError, match="run.json"):
        Run.open(run.path)


def test_no_run(tmp_path):
    with pytest.raises(DataError, match="not a RUN"):
        Run.open(tmp_path)


def test_a_search_over_a_number_with_whole_bounds_has_a_table(dataset, tmp_path):
    """The column of a float field with bounds such as 100 and 2000 was taken for whole numbers."""
    config = replace(CONFIG, space={"beta": Domain(100, 2000), "z_dim": Domain(2, 6)})
    run = Run.create(tmp_path / "other", config, dataset, {"study": "s"})
    StudySearch(open_study(run.path / "study.journal", "s"), config, []).suggest("a")
    assert run.trials().beta[0] != int(run.trials().beta[0])
    assert run.trials().z_dim.dtype == "Int64"


def save_weights(run, number, epoch, loss):
    folder = training_folder(run.path, number)
    write_tensors(
        folder / f"best-{epoch:04d}.safetensors", {"a": torch.zeros(1)}, {"metrics": {"epoch": epoch, "val_loss": loss}}
    )


def test_the_exported_model_has_the_reported_loss(used):
    """best.csv named a loss that the exported model did not have."""
    save_weights(used, 0, 1, 9.0)
    save_weights(used, 1, 2, 7.0)
    assert used.best().best_val_loss == 3.0
    assert used.saved_best().best_val_loss == 7.0
    assert used.saved_best().params == used.records()[1].params
    used.write_tables()
    assert pd.read_csv(used.path / "best.csv").eval_loss[0] == 7.0
    assert used.lost_best() == "trial 0 had 3.00 in epoch 2 and was cut off before it saved that; it is lost"
    save_weights(used, 0, 2, 3.0)
    assert used.lost_best() is None
    assert used.saved_best() == used.best()


def test_strangers_in_the_folder_of_the_trials_are_passed_over(used):
    (used.path / "trials" / ".ipynb_checkpoints").mkdir()
    (used.path / "trials" / "notes.txt").touch()
    assert list(trial_folders(used.path)) == [2]


class TestResuming:
    def test_with_more_trials_or_other_resources(self, run, dataset):
        more = replace(
            CONFIG, search=replace(CONFIG.search, trials=80), resources=replace(CONFIG.resources, concurrent=3)
        )
        assert resumed_config(run, dataset, more) == more
        assert resumed_config(run, dataset, None) == CONFIG

    def test_with_the_configuration_it_was_started_with(self, dataset, tmp_path):
        """A rerun passes the same configuration; values resolved from the data do not count as a difference."""
        Run.create(tmp_path / "other", first_config(dataset, "quick"), dataset, {"study": "s"})
        run = Run.open(tmp_path / "other")
        assert resumed_config(run, dataset, "quick") == run.config

    @pytest.mark.parametrize(
        ("section", "change", "message"),
        [
            ("training", {"beta": 500.0}, "training.beta = 1000.0, not 500.0"),
            ("training", {"epochs": 9}, "training.epochs = 4, not 9"),
            ("search", {"seed": 3, "trials": 9}, "search.seed = 0, not 3"),
        ],
    )
    def test_with_something_else_is_refused(self, run, dataset, section, change, message):
        other = replace(CONFIG, **{section: replace(getattr(CONFIG, section), **change)})
        with pytest.raises(UsageError, match=message):
            resumed_config(run, dataset, other)

    def test_on_other_data_is_refused(self, run, make_dataset):
        other = Dataset.open(make_dataset(30, 4, "other", seed=5))
        with pytest.raises(DataError, match="is not what"):
            resumed_config(run, other, None)


def test_the_study_is_found_by_its_name(used):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(used.path / "study.journal"))
    )
    optuna.create_study(study_name="something else", storage=storage)
    assert len(used.records()) == 4


def test_a_run_shows_itself(used):
    shown = repr(used)
    assert shown.startswith(f"Run('{used.path}': state interrupted; trials 2 pending, 1 complete, 1 pruned, 1 failed")
    assert "lowest loss 3.00 in trial 0 at epoch 2" in shown


def test_a_run_is_a_table_in_a_notebook(used, tmp_path):
    hostile = tmp_path / "<b>run"
    used.path.rename(hostile)
    shown = Run.open(hostile)._repr_html_()
    assert shown.count("<tr>") == shown.count("</tr>") == 6
    assert "&lt;b&gt;run" in shown
    assert "<b>" not in shown
    assert "3.00 in trial 0 at epoch 2" in shown


def test_a_run_in_which_nothing_happened_shows_itself(run):
    assert "trials 5 pending; epochs 0)" in repr(run)
    assert "lowest loss" not in run._repr_html_()


def test_a_refused_concurrent_search_leaves_no_files(dataset, tmp_path, monkeypatch):
    """Both have found the folder empty."""
    with created(tmp_path / "run", CONFIG, dataset, {"study": "first"}):
        before = (tmp_path / "run" / "run.json").read_bytes()
        monkeypatch.setattr("resvae_ray.search.run.session.refuse_existing_run", lambda folder: None)
        monkeypatch.setattr("resvae_ray.search.run.run.refuse_existing_run", lambda folder: None)
        with (
            pytest.raises(UsageError, match="a search is running in it"),
            created(tmp_path / "run", CONFIG, dataset, {"study": "second"}),
        ):
            raise AssertionError("the second one is refused")
        assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_the_lock_of_a_search_killed_before_it_wrote_anything_is_not_a_run(dataset, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").write_text("process 1 on elsewhere\n")
    with created(tmp_path / "run", CONFIG, dataset, {"study": "s"}) as run:
        assert run.info["study"] == "s"


def test_status_of_a_search_that_was_made_shorter(used):
    """Proposed trials beyond the new limit are not pending."""
    study = open_study(used.path / "study.journal", "s")
    for z_dim in (4, 5, 6):
        study.enqueue_trial({"z_dim": z_dim})
    counts = replace(used, config=replace(CONFIG, search=SearchConfig(trials=4))).status()["counts"]
    assert counts["pending"] == 1, "the one that was cut off"
