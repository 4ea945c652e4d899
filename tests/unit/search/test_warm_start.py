"""The best trials of an earlier search are the first proposals of a new one."""

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from resvae_ray.config import Config, Domain
from resvae_ray.data.dataset import Dataset
from resvae_ray.errors import DataError, UsageError
from resvae_ray.search.run.run import Run
from resvae_ray.search.study import open_study, start_study
from resvae_ray.search.warm_start import MOST, proposals_like

CONFIG = replace(Config(), training=replace(Config().training, epochs=4))


@pytest.fixture
def earlier(make_dataset, tmp_path):
    """A search with seven complete trials, of which the fourth is the best, and one that failed."""
    run = Run.create(tmp_path / "earlier", CONFIG, Dataset.open(make_dataset(30, 4)), {"study": "s"})
    study = open_study(run.path / "study.journal", "s")
    rows = []
    for number in range(8):
        study.enqueue_trial({"z_dim": 10 + number, "hidden_dim": 300, "lr": 1e-4})
        trial = study.ask()
        trial.suggest_int("z_dim", 10, 50)
        trial.suggest_int("hidden_dim", 250, 1000)
        trial.suggest_float("lr", 1e-5, 1e-3, log=True)
        loss = 5.0 + abs(number - 3)
        rows.append(
            f'{{"number":{number},"epoch":4,"val_loss":{loss if number < 7 else 0.1},"seconds":1,"node":"n","time":1}}'
        )
        study.tell(trial, loss) if number < 7 else study.tell(trial, state=TrialState.FAIL)
    (run.path / "epochs.jsonl").write_text("\n".join(rows) + "\n")
    return run


def widths(proposals):
    return [proposal["z_dim"] for proposal in proposals]


def test_the_best_come_first_and_failed_ones_never(earlier):
    proposals = proposals_like(earlier.path, CONFIG)
    assert widths(proposals) == [13, 12, 14, 11, 15]
    assert len(proposals) == MOST
    assert proposals[0] == {"z_dim": 13, "hidden_dim": 300, "lr": pytest.approx(1e-4)}


def test_a_field_that_was_not_searched_has_its_value_and_others_are_left_out(earlier):
    config = replace(CONFIG, space={"z_dim": Domain(10, 13), "dropout": Domain(0.0, 0.5)})
    assert proposals_like(earlier.path, config) == [{"z_dim": z_dim, "dropout": 0.3} for z_dim in (13, 12, 11, 10)]


def test_a_space_without_any_of_them_is_refused_with_what_lies_outside(earlier):
    config = replace(CONFIG, space={"z_dim": Domain(40, 50), "lr": Domain(1e-5, 1e-3)})
    with pytest.raises(UsageError, match=r"no trial of it lies in \[space\]; widen z_dim \(its best trial has 13\)"):
        proposals_like(earlier.path, config)


def test_words_outside_the_space_are_named(earlier):
    config = replace(CONFIG, space={"schedule": Domain(choices=("cosine", "wsd"))})
    with pytest.raises(UsageError, match=r"widen schedule \(its best trial has constant\)"):
        proposals_like(earlier.path, config)


def test_a_run_without_a_loss_and_a_folder_that_is_no_run(make_dataset, tmp_path):
    run = Run.create(tmp_path / "run", CONFIG, Dataset.open(make_dataset(30, 4)), {"study": "s"})
    with pytest.raises(UsageError, match="no trial of it has a loss"):
        proposals_like(run.path, CONFIG)
    with pytest.raises(DataError, match="not a RUN"):
        proposals_like(tmp_path, CONFIG)


def test_they_are_the_first_trials_of_a_new_study(earlier, tmp_path):
    study = open_study(tmp_path / "study.journal", "new")
    proposals = proposals_like(earlier.path, CONFIG)
    start_study(study, CONFIG, proposals)
    start_study(study, CONFIG, proposals)
    fixed = [trial.system_attrs["fixed_params"] for trial in study.get_trials()]
    assert fixed == proposals
