"""Our reader of the journal says what Optuna's own says; it fails if a new Optuna writes another journal."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import _storage as journal_storage
from optuna.trial import TrialState

from resvae_ray.search.run import journal as ours
from resvae_ray.search.run.journal import JournalReader
from resvae_ray.search.study import frozen_trials, open_study

WRITTEN = Path(__file__).parents[3] / "data" / "written_by_0.1"
NAMES = {
    TrialState.WAITING: "pending",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
CHANGED = "Optuna writes another journal than 5.0 did: adapt resvae_ray/search/run/journal.py, then pyproject.toml"


def by_optuna(path, study="s"):
    return [(trial.number, NAMES[trial.state], trial.params) for trial in frozen_trials(path, study)]


def by_us(path, study="s"):
    reader = JournalReader(path, study)
    reader.refresh()
    return [(trial.number, trial.state, trial.params) for trial in reader.proposals]


def search(path, trials=4):
    """A trial of each state and of each kind of parameter."""
    study = open_study(path, "s")
    study.enqueue_trial({"whole": 3})
    for number in range(trials):
        trial = study.ask()
        trial.suggest_int("whole", 1, 9)
        trial.suggest_float("real", 1e-5, 1e-1, log=True)
        trial.suggest_categorical("choice", ["MSE", 2, None])
        for epoch in range(1, 4):
            trial.report(10.0 / epoch if epoch < 3 else float("inf"), epoch)
        if number == 0:
            study.tell(trial, 3.0)
        elif number < 3:
            study.tell(trial, state=[TrialState.PRUNED, TrialState.FAIL][number - 1])
    study.enqueue_trial({"whole": 4})
    return study


def test_it_reads_what_optuna_reads(tmp_path):
    path = tmp_path / "study.journal"
    search(path)
    assert [state for _, state, _ in by_us(path)] == ["complete", "pruned", "failed", "running", "pending"], CHANGED
    assert by_us(path) == by_optuna(path), CHANGED


@pytest.mark.parametrize("run", ["finished", "interrupted", "halfway"])
def test_it_reads_what_version_0_1_wrote(run):
    study = json.loads((WRITTEN / run / "run.json").read_text())["study"]
    path = WRITTEN / run / "study.journal"
    assert by_us(path, study) == by_optuna(path, study)


def test_the_numbers_of_optunas_operations_are_those_that_we_know():
    known = {operation.name: operation.value for operation in journal_storage.JournalOperation}
    names = {
        "CREATE_STUDY": ours.CREATE_STUDY,
        "SET_STUDY_USER_ATTR": ours.SET_STUDY_ATTRIBUTE,
        "CREATE_TRIAL": ours.CREATE_TRIAL,
        "SET_TRIAL_PARAM": ours.SET_PARAM,
        "SET_TRIAL_STATE_VALUES": ours.SET_STATE,
        "SET_TRIAL_USER_ATTR": ours.SET_TRIAL_ATTRIBUTE,
    }
    assert {name: known[name] for name in names} == names
    assert set(known.values()) == {*(known[name] for name in names), *ours.IGNORED}, CHANGED
    assert [NAMES[TrialState(number)] for number in range(len(TrialState))] == list(ours.STATES), CHANGED


def test_values_of_epochs_are_skipped(tmp_path):
    """They are most of a journal; if they looked different, reading would be slow without a word."""
    path = tmp_path / "study.journal"
    search(path)
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if b'"intermediate_value"' in line]
    assert len(lines) == 12
    assert sum(ours.VALUE_OF_EPOCH.fullmatch(line) is not None for line in lines) == 8, "all but infinity"


def test_only_what_was_appended_is_read(tmp_path):
    path = tmp_path / "study.journal"
    study, reader = search(path), JournalReader(path, "s")
    assert reader.refresh() == {0, 1, 2, 3, 4}
    assert reader.refresh() == set()
    study.tell(3, 2.0)
    assert reader.refresh() == {3}
    assert [(trial.number, trial.state, trial.params) for trial in reader.proposals] == by_optuna(path)


def test_other_studies_in_the_file_are_left_out(tmp_path):
    path = tmp_path / "study.journal"
    other = open_study(path, "other")
    other.add_trial(optuna.create_trial(value=1.0))
    search(path)
    assert by_us(path) == by_optuna(path)
    assert by_us(path, "none") == []


def test_a_partial_line_is_read_once_complete(tmp_path):
    path = tmp_path / "study.journal"
    search(path)
    content = path.read_bytes()
    reader = JournalReader(path, "s")
    for cut in range(len(content) - 400, len(content), 7):
        path.write_bytes(content[:cut])
        reader.refresh()
    path.write_bytes(content)
    reader.refresh()
    assert [(trial.number, trial.state, trial.params) for trial in reader.proposals] == by_optuna(path)
