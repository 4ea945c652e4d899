"""ASHA decides as Ray's does, also after a restart."""

from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import AsyncHyperBandScheduler

from resvae_ray.config import Config, SearchConfig
from resvae_ray.search.asha import DurableASHA, history_of

EPOCHS = 80


def config(**search):
    return replace(Config(), search=SearchConfig(**search))


def trial(number, session="a"):
    return SimpleNamespace(trial_id=f"{session}{number}", config={"number": number})


def result(epoch, loss):
    return {"epoch": epoch, "best_val_loss": loss}


def curves(count, seed=0):
    """Running minima of `count` made-up trials, an array (count, EPOCHS)."""
    generator = np.random.default_rng(seed)
    floor, pace = generator.uniform(1, 5, (count, 1)), generator.uniform(3, 40, (count, 1))
    noise = 1 + 0.1 * generator.normal(size=(count, EPOCHS))
    return np.minimum.accumulate((floor + 20 * np.exp(-np.arange(EPOCHS) / pace)) * noise, axis=1)


def play(scheduler, losses, session="a", first=0, state=None):
    """Four trials at a time, epoch by epoch; returns where each stopped and all that was reported."""
    stops, reported = {}, {}
    running = dict(state or {})
    waiting = [n for n in range(first, len(losses)) if n not in running]
    for number in running:
        scheduler.on_trial_add(None, trial(number, session))
    while waiting or running:
        while waiting and len(running) < 4:
            number = waiting.pop(0)
            running[number] = 0
            scheduler.on_trial_add(None, trial(number, session))
        for number in list(running):
            running[number] += 1
            epoch = running[number]
            value = losses[number, epoch - 1]
            reported.setdefault(number, {})[epoch] = value
            if scheduler.on_trial_result(None, trial(number, session), result(epoch, value)) == "STOP":
                scheduler.on_trial_complete(None, trial(number, session), result(epoch, value))
                stops[number] = epoch
                del running[number]
        yield stops, reported, dict(running)


def last(generator):
    return list(generator)[-1]


@pytest.mark.parametrize(("grace", "factor"), [(10, 3.0), (5, 2.0), (7, 2.5), (80, 3.0)])
def test_it_decides_as_rays_own(grace, factor):
    losses = curves(30)
    ours = DurableASHA(config(grace=grace, reduction_factor=factor))
    theirs = AsyncHyperBandScheduler(
        time_attr="epoch", metric="best_val_loss", mode="min", max_t=EPOCHS, grace_period=grace, reduction_factor=factor
    )
    assert last(play(ours, losses))[0] == last(play(theirs, losses))[0]


@pytest.mark.parametrize("brackets", [1, 3])
@pytest.mark.parametrize("cut", [1, 9, 11, 25, 40, 77, 130, 200])
def test_a_restart_changes_no_decision(cut, brackets):
    """Regression: rungs restored as empty stopped survivors between rungs."""
    losses, settings = curves(30), config(grace=5, brackets=brackets)
    whole, _, _ = last(play(DurableASHA(settings), losses))
    stops, reported, running = next(islice(play(DurableASHA(settings), losses), cut, None))
    again = DurableASHA(settings, reported)
    first = max(reported) + 1
    more, _, _ = last(play(again, losses, "b", first, running))
    assert stops | more == whole


def test_a_decision_that_a_kill_cut_off_is_made_again(tmp_path):
    """The study has the value at the rung, but not that the trial was stopped."""
    study = optuna.create_study()
    for value, state in ((3.0, TrialState.COMPLETE), (2.0, TrialState.COMPLETE), (9.0, None)):
        told = study.ask()
        told.report(value, 10)
        if state:
            study.tell(told, value, state)
    again = DurableASHA(config(), history_of(study))
    again.on_trial_add(None, trial(2))
    assert again.on_trial_result(None, trial(2), result(10, 9.0)) == "STOP"


def test_stops_are_at_rungs_only():
    losses = curves(40)
    scheduler = DurableASHA(config())
    stops, _, _ = last(play(scheduler, losses))
    assert scheduler.rung_epochs() == [10, 30]
    assert set(stops.values()) == {10, 30, 80}


def test_the_first_trial_at_a_rung_continues():
    scheduler = DurableASHA(config())
    scheduler.on_trial_add(None, trial(0))
    assert scheduler.on_trial_result(None, trial(0), result(10, 1e9)) == "CONTINUE"


def test_a_repeated_epoch_is_not_judged_again():
    scheduler = DurableASHA(config())
    for number, loss in ((0, 5.0), (1, 4.0), (2, 3.0)):
        scheduler.on_trial_add(None, trial(number))
        assert scheduler.on_trial_result(None, trial(number), result(10, loss)) == "CONTINUE"
    scheduler.on_trial_add(None, trial(0))  # its worker was killed, and it comes back from its checkpoint
    for epoch in (8, 9, 10, 11, 29):
        assert scheduler.on_trial_result(None, trial(0), result(epoch, 5.0)) == "CONTINUE"


def test_a_failed_trial_stops_and_leaves_no_mark():
    scheduler = DurableASHA(config())
    scheduler.on_trial_add(None, trial(0))
    failure = {"epoch": 10, "best_val_loss": 1.0, "failure": "NaN"}
    assert scheduler.on_trial_result(None, trial(0), failure) == "STOP"
    scheduler.on_trial_add(None, trial(1))
    assert scheduler.on_trial_result(None, trial(1), result(10, 2.0)) == "CONTINUE"


def test_brackets_are_drawn_from_the_seed():
    def drawn(seed):
        scheduler = DurableASHA(config(brackets=3, seed=seed))
        return [scheduler._brackets.index(scheduler._bracket(number)) for number in range(50)]

    assert drawn(0) == drawn(0) != drawn(1)
    assert set(drawn(0)) == {0, 1, 2}


def test_a_grace_beyond_the_budget_stops_nothing_early():
    scheduler = DurableASHA(replace(Config(), training=replace(Config().training, epochs=3)))
    assert scheduler.rung_epochs() == [3]
