"""Optuna's study records the trials as they happened."""

from dataclasses import replace

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from resvae_ray.config import Config, Domain, SearchConfig
from resvae_ray.errors import UsageError
from resvae_ray.search.study import open_study, start_study, unfinished
from resvae_ray.search.tpe import StudySearch

CONFIG = replace(Config(), search=SearchConfig(trials=20, startup_trials=3))
FULL = CONFIG.training.epochs


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "study.journal"


def search(journal, config=CONFIG, take_up=()):
    study = open_study(journal, "test")
    start_study(study, config)
    return study, StudySearch(study, config, list(take_up))


def report(searcher, trial_id, losses, first=1):
    best = float("inf")
    for epoch, loss in enumerate(losses, first):
        best = min(best, loss)
        searcher.on_trial_result(trial_id, {"epoch": epoch, "best_val_loss": best})


def end(searcher, trial_id, epoch, loss, **more):
    searcher.on_trial_complete(trial_id, {"epoch": epoch, "best_val_loss": loss, **more})


def test_a_process_that_was_killed_among_the_first_proposals_loses_none_of_them(journal, monkeypatch):
    choices = {"z_dim": Domain(choices=(10, 18, 26)), "hidden_dim": Domain(choices=(300, 859))}
    config = replace(CONFIG, space=choices, search=replace(CONFIG.search, try_first=True))
    whole, _ = search(journal.with_name("whole.journal"), config)
    enqueue = optuna.Study.enqueue_trial
    for enqueued in (0, 1, 4):
        left = [enqueued]

        def killed(study, *arguments, left=left, **options):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            enqueue(study, *arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(optuna.Study, "enqueue_trial", killed)
            search(journal, config)
    study, searcher = search(journal, config)
    proposals = [[trial.system_attrs["fixed_params"] for trial in each.trials] for each in (study, whole)]
    assert proposals[0] == proposals[1]
    assert len(proposals[0]) == 6
    searcher.suggest("a")
    again, _ = search(journal, config)
    assert len(again.trials) == 6


def test_a_stopped_trial_is_pruned_with_all_its_values(journal):
    study, searcher = search(journal)
    searcher.suggest("a")
    report(searcher, "a", [9.0, 7.0, 8.0])
    end(searcher, "a", 4, 6.0)
    trial = study.trials[0]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 9.0, 2: 7.0, 3: 7.0, 4: 6.0}
    assert trial.value == 6.0


def test_a_full_trial_is_complete_with_its_best(journal):
    study, searcher = search(journal)
    searcher.suggest("a")
    end(searcher, "a", FULL, 5.0)
    assert (study.trials[0].state, study.trials[0].value) == (TrialState.COMPLETE, 5.0)


def test_a_trial_that_ended_for_want_of_patience_is_complete(journal):
    patient = replace(CONFIG, training=replace(CONFIG.training, patience=5))
    study, searcher = search(journal, patient)
    for trial_id, best_epoch in (("a", 4), ("b", 5)):
        searcher.suggest(trial_id)
        end(searcher, trial_id, 9, 5.0, best_epoch=best_epoch)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]


def test_crashed_and_diverged_trials_have_failed(journal):
    study, searcher = search(journal)
    for trial_id in "ab":
        searcher.suggest(trial_id)
    report(searcher, "a", [9.0])
    searcher.on_trial_complete("a", error=True)
    end(searcher, "b", 32, 3.0, failure="the validation loss is nan at epoch 33")
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2
    assert study.trials[1].value is None


def test_a_repeated_epoch_is_reported_once(journal, recwarn):
    study, searcher = search(journal)
    searcher.suggest("a")
    report(searcher, "a", [9.0, 8.0, 7.0])
    report(searcher, "a", [8.5, 7.5, 6.0], first=2)
    assert study.trials[0].intermediate_values == {1: 9.0, 2: 8.0, 3: 7.0, 4: 6.0}
    assert not recwarn.list


def losses_of(params):
    """A made-up landscape with its best near the paper's optimum."""
    return abs(params["z_dim"] - 18) + abs(params["hidden_dim"] - 859) / 100 + abs(params["lr"] - 4.69e-4) * 1e4


def go_on(searcher, first, count):
    proposals = []
    for number in range(first, first + count):
        proposal = searcher.suggest(f"t{number}")
        assert proposal["number"] == number
        proposals.append(proposal["params"])
        end(searcher, f"t{number}", FULL if number % 3 else 10, losses_of(proposal["params"]))
    return proposals


def test_the_same_seed_proposes_the_same(tmp_path):
    first = go_on(search(tmp_path / "a")[1], 0, 12)
    assert go_on(search(tmp_path / "b")[1], 0, 12) == first
    other = replace(CONFIG, search=replace(CONFIG.search, seed=1))
    assert go_on(search(tmp_path / "c", other)[1], 0, 12) != first


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
def test_a_reopened_study_proposes_what_it_would_have(cut, tmp_path):
    """A sampler that restarted its random numbers would propose the first trials again."""
    whole = go_on(search(tmp_path / "whole")[1], 0, 12)
    parts = go_on(search(tmp_path / "parts")[1], 0, cut)
    parts += go_on(search(tmp_path / "parts")[1], cut, 12 - cut)
    assert parts == whole
    assert len({tuple(params.values()) for params in whole}) == 12


def test_unfinished_trials_are_handed_out_first_with_their_number_and_values(journal):
    study, searcher = search(journal)
    started = [searcher.suggest(name) for name in "abc"]
    report(searcher, "a", [9.0, 8.0])
    end(searcher, "b", 10, 5.0)
    reopened = open_study(journal, "test")
    assert unfinished(reopened) == [0, 2]
    study, searcher = search(journal, take_up=unfinished(reopened))
    assert [searcher.suggest("x"), searcher.suggest("y")] == [started[0], started[2]]
    assert searcher.suggest("z")["number"] == 3
    report(searcher, "x", [8.5, 7.0], first=2)
    end(searcher, "x", FULL, 6.0)
    assert study.trials[0].intermediate_values == {1: 9.0, 2: 8.0, 3: 7.0, FULL: 6.0}
    assert study.trials[0].state == TrialState.COMPLETE


def test_a_journal_torn_by_a_kill_is_resumed(journal):
    _study, searcher = search(journal)
    searcher.suggest("a")
    report(searcher, "a", [9.0])
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":7,"worker_id":"0')
    journal.with_name("study.journal.lock").symlink_to(journal)  # held by the one that was killed
    _, searcher = search(journal, take_up=[0])
    searcher.suggest("b")
    report(searcher, "b", [8.0], first=2)
    again = open_study(journal, "test")
    assert again.trials[0].intermediate_values == {1: 9.0, 2: 8.0}


@pytest.mark.parametrize("ended", [0, 1, 5])
def test_a_proposal_cut_short_by_a_kill_is_completed_as_it_would_have_been(ended, tmp_path):
    """`ask` writes a trial, then its parameters one by one. A trial without parameters ended TPE for good.

    TPE draws them together, but at the start one after another: of a proposal that was half-written, the others came
    out differently then.
    """
    go_on(search(tmp_path / "whole")[1], 0, ended)
    expected = search(tmp_path / "whole")[1].suggest("next")
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    first = next(
        n
        for n, line in enumerate(lines)
        if b'"op_code":4' in line and sum(b'"op_code":4' in x for x in lines[:n]) == ended
    )
    for kept in range(first + 1, len(lines) + 1):
        journal = tmp_path / f"cut-{kept}"
        journal.write_bytes(b"".join(lines[:kept]))
        study, searcher = search(journal, take_up=[ended])
        assert searcher.suggest("again") == expected
        end(searcher, "again", FULL, 1.0)
        assert ended < 3 or set(study.sampler.infer_relative_search_space(study, study.trials[-1])) == set(CONFIG.space)


def test_a_machine_fault_does_not_count_against_the_trial(journal):
    study, searcher = search(journal)
    searcher.suggest("a")
    end(searcher, "a", 0, float("inf"), fault="the data have changed")
    assert unfinished(study) == [0]


def test_the_papers_optimum_can_come_first(journal):
    config = replace(CONFIG, search=replace(CONFIG.search, try_first=True))
    _, searcher = search(journal, config)
    assert searcher.suggest("a") == {"number": 0, "params": {"z_dim": 18, "hidden_dim": 859, "lr": 4.69e-4}}
    assert searcher.suggest("b")["number"] == 1
    _, searcher = search(journal, config)
    assert searcher.suggest("c")["number"] == 2


def test_the_first_proposal_must_lie_in_the_space(journal):
    config = replace(CONFIG, training=replace(CONFIG.training, z_dim=5), search=SearchConfig(try_first=True))
    with pytest.raises(UsageError, match="training.z_dim is 5, outside its range"):
        search(journal, config)


def test_a_space_of_choices_is_tried_whole_if_there_are_trials_for_it(journal):
    space = {"z_dim": Domain(choices=(8, 18, 34)), "batch_size": Domain(choices=(32, 64))}
    config = replace(CONFIG, space=space, search=replace(CONFIG.search, trials=7, try_first=True))
    _, searcher = search(journal, config)
    proposals = [searcher.suggest(str(number))["params"] for number in range(6)]
    assert proposals[0] == {"z_dim": 18, "batch_size": 32}
    assert {(proposal["z_dim"], proposal["batch_size"]) for proposal in proposals} == {
        (z_dim, batch) for z_dim in (8, 18, 34) for batch in (32, 64)
    }
    assert searcher.suggest("more")["number"] == 6


def test_a_space_with_more_choices_than_trials_is_searched(tmp_path):
    space = {"z_dim": Domain(choices=(8, 18, 34))}
    for trials, enqueued in ((2, 0), (3, 3)):
        config = replace(CONFIG, space=space, search=replace(CONFIG.search, trials=trials))
        study, _ = search(tmp_path / f"{trials}.journal", config)
        assert len(study.get_trials()) == enqueued


def test_tpe_learns_from_it(journal):
    """Later proposals are better than the random ones."""
    _, searcher = search(journal)
    losses = [losses_of(params) for params in go_on(searcher, 0, 40)]
    assert sorted(losses[20:])[10] < sorted(losses[:10])[5]


def test_it_is_an_optuna_journal(journal):
    """As optuna-dashboard opens it."""
    _, searcher = search(journal)
    go_on(searcher, 0, 4)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    (summary,) = optuna.get_all_study_summaries(storage)
    assert (summary.study_name, summary.n_trials) == ("test", 4)
