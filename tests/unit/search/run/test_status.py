import json
import time
from dataclasses import replace

import pytest

from resvae_ray.config import Config, SearchConfig
from resvae_ray.search.run import status as status_module
from resvae_ray.search.run.epoch_log import Curve
from resvae_ray.search.run.finalists import Finalist
from resvae_ray.search.run.lock import Worker
from resvae_ray.search.run.snapshot import Snapshot
from resvae_ray.search.run.trainings import TrainingRecord

CONFIG = replace(Config(), search=SearchConfig(trials=5), training=replace(Config().training, epochs=4))
ALIVE = Worker("process 1 on here", 3.0, True)
DEAD = Worker("process 1 on here", 300.0, False)


def trial(number, state, epochs, at, every_s=2.0, failure=None):
    """A trial that reported `epochs` times, first at `at`, then every `every_s` seconds."""
    rows = [
        {
            "number": number,
            "epoch": n + 1,
            "val_loss": 9.0 - n,
            "seconds": 1.0,
            "node": "host",
            "time": at + every_s * n,
        }
        for n in range(epochs)
    ]
    return TrainingRecord(number, state, {"z_dim": 18}, Curve.of(rows), failure)


def status_of(*search):
    """Returns the status as JSON."""
    trials, *rest = search
    return status_module.status_of(Snapshot(trials), *rest).as_json()


def sessions(*began):
    return [{"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))} for at in began]


@pytest.fixture
def now(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1.7e9)
    return 1.7e9


def test_a_running_search(now):
    records = [
        trial(0, "complete", 4, now - 100),
        trial(1, "pruned", 2, now - 80),
        trial(2, "failed", 1, now - 70, failure="the loss is nan"),
        trial(3, "running", 2, now - 60, every_s=55.0),
    ]
    status = status_of(records, [], None, CONFIG, ALIVE, sessions(now - 200))
    assert status["state"] == "running"
    assert status["counts"] == {"pending": 1, "running": 1, "complete": 1, "pruned": 1, "failed": 1}
    assert status["running"] == [{"number": 3, "repeat": None, "epochs": 2, "best_val_loss": 8.0, "node": "host"}]
    assert status["failures"] == [{"number": 2, "repeat": None, "failure": "the loss is nan"}]
    assert status["best"]["best_val_loss"] == 6.0
    assert status["epochs_per_s"] == pytest.approx(3 / 73), "of the last four epochs, one trial's length"
    mean = (4 + 2 + 1) / 3
    assert status["seconds_left"] == pytest.approx((mean + 2) * 73 / 3, abs=0.1)
    assert status["last_epoch_s"] == 5
    json.dumps(status, allow_nan=False)


def test_the_night_between_two_sessions_is_not_a_slow_epoch(now):
    records = [trial(0, "complete", 4, now - 90000), trial(1, "running", 3, now - 5)]
    status = status_of(records, [], None, CONFIG, ALIVE, sessions(now - 91000, now - 20))
    assert status["epochs_per_s"] == pytest.approx(0.5)


def test_a_silence_slows_the_rate_down_and_makes_the_time_left_longer(now):
    """Regression: half an hour after the last epoch, `status` estimated two minutes left."""
    records = [trial(0, "complete", 4, now - 1000), trial(1, "running", 3, now - 992)]
    status = status_of(records, [], None, CONFIG, ALIVE, sessions(now - 2000))
    assert status["epochs_per_s"] == pytest.approx(4 / 994)
    assert status["seconds_left"] > 3000


def test_a_time_limit_is_part_of_the_time_left(now):
    limited = replace(CONFIG, search=replace(CONFIG.search, trials=1000, max_hours=1.0))
    records = [trial(0, "complete", 4, now - 90), trial(1, "running", 3, now - 10)]
    status = status_of(records, [], None, limited, ALIVE, sessions(now - 100))
    assert status["seconds_left"] == pytest.approx(3500)


@pytest.mark.parametrize(
    ("states", "worker", "state"),
    [
        ([], None, "interrupted"),
        ([], ALIVE, "running"),
        (["complete", "running"], DEAD, "interrupted"),
        (["complete"] * 4 + ["running"], DEAD, "interrupted"),
        (["complete"] * 4 + ["failed"], None, "finished"),
        (["complete"] * 5, DEAD, "finished"),
    ],
)
def test_states(states, worker, state, now):
    records = [trial(number, each, 2, now - 100) for number, each in enumerate(states)]
    status = status_of(records, [], None, CONFIG, worker, sessions(now - 200))
    assert status["state"] == state
    if state != "running":
        assert status["running"] == []
        assert status["epochs_per_s"] is None
        assert status["seconds_left"] is None


def test_a_search_in_which_every_trial_failed_has_failed(now):
    records = [trial(number, "failed", 0, now, failure="out of memory") for number in range(5)]
    assert status_of(records, [], None, CONFIG, None, sessions(now))["state"] == "failed"


def test_before_anything_happened():
    status = status_of([], [], None, CONFIG, None, [])
    assert (status["best"], status["epochs"], status["last_epoch_s"], status["worker"]) == (None, 0, None, None)


def test_the_final_round(now):
    """Retrainings run, fail and take time like trials, and count in the same way."""

    def repeat(place, epochs, loss=None, failure=None):
        curve = trial(0, "", epochs, now - 40 + 10 * place).curve
        state = "complete" if loss else "failed" if failure else "running" if epochs else "pending"
        return TrainingRecord(0, state, {}, curve, failure, place, loss)

    repeats = (repeat(0, 4, loss=5.0), repeat(1, 2), repeat(2, 1, failure="the loss is nan"), repeat(3, 0))
    finalist = Finalist(0, {}, 4.0, 4, True, repeats)
    records = [trial(number, "complete", 4, now - 500) for number in range(5)]
    status = status_of(records, [finalist], None, CONFIG, ALIVE, sessions(now - 100))
    assert (status["state"], status["finalist_trainings_left"]) == ("running", 2)
    assert status["running"] == [{"number": 0, "repeat": 1, "epochs": 2, "best_val_loss": 8.0, "node": "host"}]
    assert status["failures"] == [{"number": 0, "repeat": 2, "failure": "the loss is nan"}]
    assert status["epochs"] == 5 * 4 + 7
    assert status["last_epoch_s"] == 20.0
    assert status["seconds_left"] == pytest.approx((2 + 4) / status["epochs_per_s"], abs=0.1)
    assert status_of(records, [finalist], None, CONFIG, None, sessions(now))["state"] == "interrupted"


def test_a_search_that_has_ended_by_itself_is_finished(now):
    records = [trial(0, "complete", 4, now - 100), trial(1, "complete", 4, now - 80)]
    config = replace(CONFIG, search=SearchConfig(trials="auto"))
    ended = Snapshot(records, enough="the last 1 of 2 trials lowered the loss by 0.0%, less than 1%")
    status = status_module.status_of(ended, [], None, config, None, sessions(now - 200))
    assert (status.state, status.counts["pending"], status.enough) == ("finished", 0, ended.enough)
    going_on = status_module.status_of(Snapshot(records), [], None, config, None, sessions(now - 200))
    assert (going_on.state, going_on.counts["pending"]) == ("interrupted", 48)


def test_a_search_that_promotes_counts_its_paused_trials(now):
    config = replace(CONFIG, search=SearchConfig(trials=5, scheduler="promote", grace=2, reduction_factor=2.0))
    records = [
        trial(0, "complete", 4, now - 100),
        trial(1, "paused", 2, now - 80),
        trial(2, "paused", 2, now - 70),
        trial(3, "running", 1, now - 60),
    ]
    status = status_of(records, [], None, config, ALIVE, sessions(now - 200))
    assert status["counts"] == {"pending": 1, "running": 1, "paused": 2, "complete": 1, "pruned": 0, "failed": 0}
    expected = 5 * 2 + 2.5 * 2 - (4 + 2 + 2 + 1)
    assert status["seconds_left"] == pytest.approx(expected / status["epochs_per_s"], abs=0.1)
    interrupted = status_of(records[1:3], [], None, config, DEAD, sessions(now - 200))
    assert interrupted["counts"]["paused"] == 2
    assert interrupted["state"] == "interrupted"
    waiting = replace(config, search=replace(config.search, trials=2))
    assert status_of(records[1:3], [], None, waiting, None, sessions(now - 200))["state"] == "interrupted"
