"""A search with `trials = "auto"` ends when the newer half of its trials has gained too little."""

from dataclasses import replace
from math import inf

import pytest
from ray.tune.search import Searcher

from resvae_ray import names
from resvae_ray.config import AUTO, MOST_AUTO_TRIALS, Config, SearchConfig
from resvae_ray.errors import UsageError
from resvae_ray.search.enough_trials import reason_to_end, trials_to_begin
from resvae_ray.search.run.journal import JournalReader
from resvae_ray.search.study import open_study, start_study, unfinished
from resvae_ray.search.tpe import StudySearch

CONFIG = replace(Config(), search=SearchConfig(trials=AUTO, startup_trials=2))
FULL = CONFIG.training.epochs


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([], None),
        ([9.0, 9.0, 9.0], None),  # TPE has proposed less than two trials
        ([10.0, 11.0, 9.95, 12.0], "the last 2 of 4 trials lowered the loss by 0.5%, less than 1%"),
        ([10.0, 11.0, 12.0, 9.9], None),  # a gain of 1 % is worth it
        ([10.0, 11.0, 9.0, 8.9, 8.95], None),  # the older three have 9.0, which 8.9 improves by 1.1 %
        ([10.0, 11.0, 9.0, 8.95, 9.5], "the last 2 of 5 trials lowered the loss by 0.6%, less than 1%"),
        ([inf, 11.0, inf, 12.0], "the last 2 of 4 trials lowered the loss by 0.0%, less than 1%"),
        ([inf, inf, inf, inf], None),
        ([inf, inf, 3.0, 3.0], None),
        ([0.0, 0.0, 0.0, 0.0], "the last 2 of 4 trials lowered the loss by 0.0%, less than 1%"),
    ],
)
def test_the_rule(losses, reason):
    assert reason_to_end(losses, 2) == reason


def searcher(study, config=CONFIG):
    return StudySearch(study, config, unfinished(study))


def begin_and_end(search, name, loss):
    assert search.suggest(name) != Searcher.FINISHED
    search.on_trial_complete(name, {"epoch": FULL, "best_val_loss": loss})


@pytest.fixture
def study(tmp_path):
    study = open_study(tmp_path / "study.journal", "test")
    start_study(study, CONFIG)
    return study


def test_no_trial_begins_once_more_do_not_pay_and_the_study_says_why(study, tmp_path):
    search = searcher(study)
    for name, loss in zip("abcd", (10.0, 11.0, 10.0, 12.0), strict=True):
        assert trials_to_begin(study, CONFIG.search) == MOST_AUTO_TRIALS - len(study.trials)
        begin_and_end(search, name, loss)
    assert search.suggest("e") == Searcher.FINISHED
    assert trials_to_begin(study, CONFIG.search) == 0
    reader = JournalReader(tmp_path / "study.journal", "test")
    reader.refresh()
    assert reader.attributes[names.ENOUGH] == "the last 2 of 4 trials lowered the loss by 0.0%, less than 1%"


def test_a_number_of_trials_extends_a_search_that_has_ended_by_itself(study):
    search = searcher(study)
    for name in "abcd":
        begin_and_end(search, name, 10.0)
    assert trials_to_begin(study, CONFIG.search) == 0
    longer = replace(CONFIG, search=replace(CONFIG.search, trials=6))
    assert trials_to_begin(study, longer.search) == 2
    assert study.user_attrs[names.ENOUGH] is None
    begin_and_end(searcher(study, longer), "e", 5.0)
    assert trials_to_begin(study, CONFIG.search) > 0  # the fifth trial was worth it


def test_a_trial_that_has_not_ended_decides_nothing(study):
    search = searcher(study)
    for name in "abc":
        begin_and_end(search, name, 10.0)
    assert search.suggest("d") != Searcher.FINISHED
    assert trials_to_begin(study, CONFIG.search) == MOST_AUTO_TRIALS - 4
    again = searcher(study)  # the process was killed; the trial is resumed, and only then is the search over
    assert again.suggest("d")[names.NUMBER] == 3
    again.on_trial_complete("d", {"epoch": FULL, "best_val_loss": 10.0})
    assert again.suggest("e") == Searcher.FINISHED


def test_a_trial_under_way_may_show_that_more_pay(study):
    """It ran while no other was begun; what it finds counts before the search ends."""
    search = searcher(study)
    for name in "abcde":
        search.suggest(name)
    for name in "abcd":
        search.on_trial_complete(name, {"epoch": FULL, "best_val_loss": 10.0})
    assert search.suggest("f") == Searcher.FINISHED
    search.on_trial_complete("e", {"epoch": FULL, "best_val_loss": 5.0})
    assert trials_to_begin(study, CONFIG.search) == MOST_AUTO_TRIALS - 5
    assert names.ENOUGH not in study.user_attrs


def test_a_word_that_is_not_auto_is_refused():
    with pytest.raises(UsageError, match="search.trials is 'many'; it must be at least 1, or auto"):
        SearchConfig(trials="many")
