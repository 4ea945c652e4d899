import json
from dataclasses import replace

import pytest
import torch

from resvae_ray.config import SearchConfig
from resvae_ray.errors import DataError
from resvae_ray.model.checkpoint import best_path
from resvae_ray.model.tensor_file import write_tensors
from resvae_ray.search.run.epoch_log import Curve
from resvae_ray.search.run.finalists import (
    best_weights,
    chosen_of,
    finalists_of,
    left_to_train,
    winner,
    write_choice,
)
from resvae_ray.search.run.snapshot import SnapshotReader
from resvae_ray.search.run.trainings import TrainingRecord, training_folder

SEARCH = SearchConfig(trials=5, finalists=2, seeds=2)


def record(number, state, loss, z_dim=None):
    curve = Curve() if loss is None else Curve([1], [loss], [2.0], [10.0], ["host"])
    return TrainingRecord(number, state, {"z_dim": number if z_dim is None else z_dim}, curve)


def snapshot(folder, trials):
    """The snapshot of a RUN with these trials and the content of `folder`."""
    return replace(SnapshotReader(folder, "s").read(), trials=trials)


def read_finalists(folder, config, trials):
    return finalists_of(snapshot(folder, trials), config)


def read_choice(folder, trials):
    return chosen_of(snapshot(folder, trials), folder)


ENDED = [
    record(0, "complete", 30.0),
    record(1, "pruned", 10.0),
    record(2, "failed", 5.0),
    record(3, "complete", 20.0),
    record(4, "pruned", None),
]


@pytest.fixture
def train(tmp_path):
    """Leaves on the disk what a retraining leaves when it ends."""

    def write(number, repeat, loss, failure=None):
        folder = training_folder(tmp_path, number, repeat)
        folder.mkdir(parents=True)
        if loss is not None:
            state = {"metrics": {"epoch": 3, "val_loss": loss}}
            write_tensors(best_path(folder, 3), {"w": torch.zeros(1)}, state)
        result = {"best_val_loss": loss, "failure": failure} if failure else {"best_val_loss": loss}
        (folder / "result.json").write_text(json.dumps(result))

    return write


def numbers(finalists):
    return [finalist.number for finalist in finalists]


def test_the_best_that_came_through_pruned_ones_too(tmp_path):
    assert numbers(read_finalists(tmp_path, SEARCH, ENDED)) == [1, 3]


@pytest.mark.parametrize("state", ["running", "pending"])
def test_none_before_all_trials_have_ended(tmp_path, state):
    assert not read_finalists(tmp_path, SEARCH, [*ENDED[:4], record(4, state, 1.0)])
    assert not read_finalists(tmp_path, SEARCH, ENDED[:4])


def test_none_unless_asked_for(tmp_path):
    assert not read_finalists(tmp_path, SearchConfig(trials=5), ENDED)


def test_equal_configurations_are_one_finalist(tmp_path):
    records = [*ENDED[:4], record(4, "complete", 11.0, z_dim=1)]
    assert numbers(read_finalists(tmp_path, SEARCH, records)) == [1, 3]


def test_all_are_left_to_train_the_first_seed_of_each_first(tmp_path):
    left = left_to_train(read_finalists(tmp_path, SEARCH, ENDED))
    assert [(repeat.number, repeat.repeat) for repeat in left] == [(1, 0), (3, 0), (1, 1), (3, 1)]


def test_the_lowest_mean_wins_not_the_lowest_loss(tmp_path, train):
    for number, repeat, loss in [(1, 0, 8.0), (1, 1, 40.0), (3, 0, 19.0), (3, 1, 23.0)]:
        train(number, repeat, loss)
    chosen = winner(read_finalists(tmp_path, SEARCH, ENDED))
    assert (chosen.number, chosen.mean, chosen.gap) == (3, 21.0, 1.0)
    assert winner(read_finalists(tmp_path, SEARCH, ENDED)).repeats[0].loss == 19.0
    assert chosen.sd == pytest.approx(8.0**0.5)
    assert best_weights(tmp_path, chosen).val_loss == 19.0


def test_no_winner_while_trainings_are_left(tmp_path, train):
    train(1, 0, 8.0)
    assert winner(read_finalists(tmp_path, SEARCH, ENDED)) is None


def test_one_that_failed_under_a_seed_comes_after_one_that_did_not(tmp_path, train):
    train(1, 0, 8.0)
    train(1, 1, 7.0, failure="the loss is nan")
    train(3, 0, 19.0)
    train(3, 1, 23.0)
    finalists = read_finalists(tmp_path, SEARCH, ENDED)
    assert winner(finalists).number == 3
    assert finalists[0].losses == [8.0]
    assert finalists[0].row()["failed"] == 1


def test_no_winner_if_all_failed(tmp_path, train):
    for number, repeat in [(1, 0), (1, 1), (3, 0), (3, 1)]:
        train(number, repeat, None, failure="crashed")
    assert winner(read_finalists(tmp_path, SEARCH, ENDED)) is None


def test_a_trial_that_was_stopped_early_has_no_gap(tmp_path, train):
    """Its loss belongs to a shorter training, so the difference does not measure luck."""
    train(1, 0, 8.0)
    pruned, complete = read_finalists(tmp_path, SEARCH, ENDED)
    assert (pruned.mean, pruned.gap, pruned.search_epochs) == (8.0, None, 1)
    assert complete.complete


def test_a_choice_holds_until_a_later_round_has_chosen(tmp_path, train):
    """An extended search asks for new finalists; until these are trained the chosen one stays."""
    for number, repeat, loss in [(1, 0, 8.0), (1, 1, 40.0), (3, 0, 19.0), (3, 1, 23.0)]:
        train(number, repeat, loss)
    write_choice(tmp_path, read_finalists(tmp_path, SEARCH, ENDED))
    longer = replace(SEARCH, trials=6)
    write_choice(tmp_path, read_finalists(tmp_path, longer, ENDED))
    assert read_choice(tmp_path, ENDED)[0].number == 3
    more = [*ENDED, record(5, "complete", 1.0)]
    write_choice(tmp_path, read_finalists(tmp_path, longer, more))
    chosen, among = read_choice(tmp_path, more)
    assert (chosen.number, among) == (3, 2)


def test_nothing_was_chosen(tmp_path):
    write_choice(tmp_path, [])
    assert read_choice(tmp_path, ENDED) is None


def test_proposals_of_a_longer_search_do_not_keep_a_shorter_one_from_ending(tmp_path):
    """A space of choices is proposed completely; then the user asks for fewer trials."""
    pending = [record(number, "pending", None) for number in (5, 6)]
    assert numbers(read_finalists(tmp_path, SEARCH, [*ENDED, *pending])) == [1, 3]
    assert read_finalists(tmp_path, replace(SEARCH, trials=6), [*ENDED, *pending]) == []


def test_a_choice_that_the_study_does_not_know(tmp_path):
    (tmp_path / "finalists").mkdir()
    (tmp_path / "finalists" / "choice.json").write_text('{"among": 2, "seeds": 2, "number": 9}')
    with pytest.raises(DataError, match=r"choice\.json: trial 9 is not in the study"):
        read_choice(tmp_path, ENDED)
