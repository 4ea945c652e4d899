"""ASHA that pauses and promotes, decided from the study alone."""

from collections import Counter
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from resvae_ray import names
from resvae_ray.config import PROMOTE, Config, SearchConfig, TrainingConfig
from resvae_ray.errors import UsageError
from resvae_ray.search.asha import DurableASHA
from resvae_ray.search.promotion import Ladder
from resvae_ray.search.run.journal import JournalReader
from resvae_ray.search.rungs import rung_epochs
from resvae_ray.search.study import open_study, paused, reopened, start_study, unfinished
from resvae_ray.search.tpe import PromotingSearch, TrueStates

CONFIG = replace(
    Config(),
    training=TrainingConfig(epochs=18),
    search=SearchConfig(scheduler=PROMOTE, trials=12, startup_trials=4, grace=2, reduction_factor=3.0),
)
RUNGS = [2, 6]


def search(journal, config=CONFIG):
    study = open_study(journal, "test")
    start_study(study, config)
    return study, PromotingSearch(study, config, unfinished(study))


def curve(params):
    """Made-up running minima with their lowest near the paper's optimum; some curves cross."""
    distance = abs(params["z_dim"] - 18) + abs(params["hidden_dim"] - 859) / 100 + abs(np.log(params["lr"] / 4.69e-4))
    return distance + 30 * np.exp(-np.arange(1, 19) * params["lr"] * 1e3)


class Slots:
    """Tune as a searcher sees it: a number of slots, in which trials report and end one epoch after another."""

    def __init__(self, searcher, slots=1, failing=(), poor_from=1000):
        self.searcher, self.slots, self.failing, self.poor_from = searcher, slots, failing, poor_from
        self.running, self.begun, self.epochs = {}, 0, 0

    def loss(self, task, epoch):
        return float(curve(task["params"])[epoch - 1]) + 1000 * (task["number"] >= self.poor_from)

    def step(self):
        """One event; returns whether there is another."""
        while len(self.running) < self.slots:
            task = self.searcher.suggest(str(self.begun))
            if task == Searcher.FINISHED:
                assert not self.running
                return False
            if task is None:
                assert self.running, "nothing runs and nothing begins: it would wait for ever"
                break
            self.running[str(self.begun)] = [task, task[names.PAUSED_AT]]
            self.begun += 1
        trial_id = min(self.running, key=lambda each: (self.running[each][1], int(each)))
        task, epoch = self.running[trial_id]
        epoch += 1
        self.running[trial_id][1], self.epochs = epoch, self.epochs + 1
        result = {"epoch": epoch, "best_val_loss": self.loss(task, epoch)}
        if task["number"] in self.failing and epoch == 5:
            self.searcher.on_trial_complete(trial_id, result | {"failure": "nan"})
            del self.running[trial_id]
            return True
        self.searcher.on_trial_result(trial_id, result)
        if epoch == task[names.UNTIL]:
            self.searcher.on_trial_complete(trial_id, result)
            del self.running[trial_id]
        return True

    def play(self):
        while self.step():
            assert self.begun < 100
        return self


def outcome(study):
    return [
        (trial.number, trial.state, trial.params, trial.intermediate_values, trial.user_attrs) for trial in study.trials
    ]


@pytest.mark.parametrize(
    ("grace", "factor", "epochs"),
    [(10, 3.0, 80), (5, 2.0, 80), (7, 2.5, 80), (80, 3.0, 80), (10, 2, 80), (2, 1.3, 9), (9, 3, 81)],
)
def test_rungs_are_those_of_ray(grace, factor, epochs):
    config = replace(
        Config(), training=TrainingConfig(epochs=epochs), search=SearchConfig(grace=grace, reduction_factor=factor)
    )
    theirs = [epoch for epoch in DurableASHA(config).rung_epochs() if epoch < epochs]
    assert rung_epochs(config) == theirs


def test_every_trial_pauses_at_the_first_rung_and_the_best_go_on(tmp_path):
    study, searcher = search(tmp_path / "journal")
    slots = Slots(searcher).play()
    reached = {rung: [t for t in study.trials if rung in t.intermediate_values] for rung in (*RUNGS, 18)}
    assert len(reached[2]) == 12
    assert 4 <= len(reached[6]) < 8
    assert 1 <= len(reached[18]) < len(reached[6])
    assert slots.epochs == sum(len(t.intermediate_values) for t in study.trials)
    assert Counter(t.state for t in study.trials)[TrialState.COMPLETE] == len(reached[18])
    assert paused(study) == [t.number for t in study.trials if t not in reached[18]]
    assert unfinished(study) == []


def at(rung, number, *values, promoted=False, state=TrialState.RUNNING):
    """A trial that paused at a rung with these lowest losses."""
    attributes = {names.PAUSED_AT: rung, names.UNTIL: rung + 1 if promoted else rung}
    trial = optuna.create_trial(
        state=state, intermediate_values=dict(enumerate(values, 1)), user_attrs=attributes, value=None
    )
    trial.number = number
    return trial


def number_of(trial):
    return trial.number if trial else None


def test_who_is_promoted():
    ladder = Ladder(CONFIG)  # rungs 2 and 6, factor 3
    trials = [at(2, number, 10.0, 10.0 - number) for number in range(7)]
    assert number_of(ladder.promoted(trials[:3], ending=False)) is None, "a third of two others is none"
    assert number_of(ladder.promoted(trials[:4], ending=False)) == 3
    assert number_of(ladder.promoted([*trials[:3], at(2, 3, 10.0, 7.0, promoted=True)], ending=False)) is None
    assert number_of(ladder.promoted(trials, ending=False)) == 6
    assert number_of(ladder.promoted([*trials[:6], at(2, 6, 10.0, 4.0, promoted=True)], ending=False)) == 5
    higher = [at(6, number, *[9.0 - number] * 6) for number in range(7, 11)]
    assert number_of(ladder.promoted([*trials, *higher], ending=False)) == 10, "the highest rung comes first"


def test_when_no_trial_may_begin_at_least_one_goes_on():
    ladder = Ladder(CONFIG)
    assert number_of(ladder.promoted([at(2, 0, 9.0, 8.0)], ending=True)) == 0
    assert number_of(ladder.promoted([at(2, 0, 9.0, 8.0, promoted=True), at(2, 1, 9.0, 8.5)], ending=True)) is None
    failed = at(2, 0, 9.0, 8.0, state=TrialState.FAIL)
    assert number_of(ladder.promoted([failed, at(2, 1, 9.0, 8.5)], ending=True)) == 1


def test_a_trial_whose_loss_falls_faster_is_preferred():
    """Loss 6 after 2 and 10 after 1 epoch comes to 3.6 at a constant power; 5.5 after 6 to 5.04."""
    steep, flat = at(2, 0, 10.0, 6.0), at(2, 1, 6.0, 5.5)
    assert number_of(Ladder(CONFIG).promoted([steep, flat], ending=True)) == 0
    level = at(2, 2, 0.0, 0.0)
    assert number_of(Ladder(CONFIG).promoted([level], ending=True)) == 2, "a loss of 0 has no power"


def test_a_search_of_one_trial_trains_it_to_its_end(tmp_path):
    study, searcher = search(tmp_path / "journal", replace(CONFIG, search=replace(CONFIG.search, trials=1)))
    Slots(searcher).play()
    assert [t.state for t in study.trials] == [TrialState.COMPLETE]


def lines_of(journal):
    return journal.read_bytes().splitlines(keepends=True)


def test_a_search_that_was_killed_after_any_write_comes_to_the_same(tmp_path):
    study, searcher = search(tmp_path / "whole")
    Slots(searcher).play()
    expected, lines = outcome(study), lines_of(tmp_path / "whole")
    first = next(place for place, line in enumerate(lines) if b'"op_code":4' in line)
    for kept in range(first, len(lines), 23):
        journal = tmp_path / f"cut-{kept}"
        journal.write_bytes(b"".join(lines[:kept]))
        study, searcher = search(journal)
        Slots(searcher).play()
        assert outcome(study) == expected, kept
        journal.unlink()


@pytest.mark.parametrize("slots", [1, 2, 3, 20])
@pytest.mark.parametrize("failing", [(), range(12), (1, 5, 7)])
def test_it_ends_with_any_number_of_slots_and_failures(slots, failing, tmp_path):
    """Regression of others: ray#30265, a search whose trials are all paused waits for ever."""
    study, searcher = search(tmp_path / "journal")
    Slots(searcher, slots, failing).play()
    assert len(study.trials) == 12
    assert unfinished(study) == []
    assert Ladder(CONFIG).promoted(study.trials, ending=True) is None


def test_the_sampler_sees_paused_trials_as_pruned_and_new_ones_as_running(tmp_path):
    _, searcher = search(tmp_path / "journal")
    slots = Slots(searcher, slots=2)
    seen = []

    class Recording(TrueStates):
        def sample_relative(self, study, trial, search_space):
            seen.append({})
            return super().sample_relative(study, trial, search_space)

        def _sample(self, study, trial, search_space):
            seen[-1] = {t.number: (t.state, dict(t.intermediate_values)) for t in study._get_trials()}
            return super()._sample(study, trial, search_space)

    searcher.sampler_class = Recording
    while slots.step():
        if seen and seen[-1]:
            for state, values in seen[-1].values():
                if state == TrialState.PRUNED:
                    assert max(values) in RUNGS
                if state == TrialState.RUNNING:
                    assert not values or max(values) < 2
                assert state != TrialState.COMPLETE or max(values) == 18
    states = Counter(state for each in seen for state, _ in each.values())
    assert states[TrialState.PRUNED] > 10
    assert states[TrialState.RUNNING] > 0


def test_the_journal_tells_who_is_paused(tmp_path):
    study, searcher = search(tmp_path / "journal")
    slots, reader, found = Slots(searcher, slots=2), JournalReader(tmp_path / "journal", "test"), set()
    while slots.step():
        reader.refresh()
        states = {proposal.number: proposal.state for proposal in reader.proposals}
        assert [number for number, state in states.items() if state == "paused"] == paused(study)
        assert [number for number, state in states.items() if state == "running"] == unfinished(study)
        found |= set(states.values())
    assert found == {"running", "paused", "complete"}
    fresh = JournalReader(tmp_path / "journal", "test")
    fresh.refresh()
    assert fresh.proposals == reader.proposals


def test_in_a_longer_search_trials_that_were_paused_can_be_promoted(tmp_path):
    study, searcher = search(tmp_path / "journal")
    Slots(searcher).play()
    for number in paused(study):
        study.tell(number, state=TrialState.PRUNED)
    before = outcome(study)
    assert reopened(tmp_path / "journal", "test", CONFIG) == "test", "nothing to add"
    longer = replace(CONFIG, search=replace(CONFIG.search, trials=30))
    name = reopened(tmp_path / "journal", "test", longer)
    again = open_study(tmp_path / "journal", name)
    assert [t.params for t in again.trials] == [params for _, _, params, _, _ in before]
    assert paused(again) == [number for number, state, *_ in before if state == TrialState.PRUNED]
    Slots(PromotingSearch(again, longer, []), slots=2, poor_from=12).play()
    assert len(again.trials) == 30
    gone_on = [t for t in again.trials[:12] if max(t.intermediate_values) > max(before[t.number][3])]
    assert gone_on, "a trial of the shorter search went on"
    assert [t.state for t in study.trials] == [state for _, state, *_ in before], "the record of it is as it was"


def test_a_stopping_search_is_not_reopened(tmp_path):
    stopping = replace(CONFIG, search=SearchConfig(trials=50))
    assert reopened(tmp_path / "none", "test", stopping) == "test"
    assert not (tmp_path / "none").exists()


def test_a_search_that_ends_by_itself_counts_paused_trials(tmp_path):
    config = replace(CONFIG, search=replace(CONFIG.search, trials="auto", startup_trials=3))
    study, searcher = search(tmp_path / "journal", config)
    Slots(searcher).play()
    assert 6 <= len(study.trials) < 50


def test_promotion_has_one_bracket():
    with pytest.raises(UsageError, match=r"search.brackets is 2; scheduler promote has one bracket"):
        SearchConfig(scheduler=PROMOTE, brackets=2)
    with pytest.raises(UsageError, match=r"search.scheduler is 'pause'; expected stop or promote"):
        SearchConfig(scheduler="pause")
