"""Workers that die between two trials, which they serve one after the other."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ray import cloudpickle, tune
from ray.tune import Callback, Trainable
from searches import ONE_AT_A_TIME

from resvae_ray import names
from resvae_ray.data.dataset import Dataset
from resvae_ray.search.ray_tune.experiment import run_experiment
from resvae_ray.search.resources import Slots
from resvae_ray.search.run.run import Run

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_here")]
TRIALS = 4
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import it


class DiesBetweenTrials(Trainable):
    """A training of two epochs. A process that has served one trial is killed before it serves one of `dies_before`."""

    def setup(self, config):
        self._epochs = 0

    def reset_config(self, new_config):
        number = new_config[names.NUMBER]
        if number in new_config["dies_before"]:
            (Path(new_config["marks"]) / str(number)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self._epochs = 0
        return True

    def step(self):
        self._epochs += 1
        return {names.EPOCH: self._epochs, "done": self._epochs == 2}

    def save_checkpoint(self, folder):
        """Tune asks for one at the end."""


class Ends(Callback):
    def __init__(self):
        self.complete, self.failed = [], []

    def on_trial_complete(self, iteration, trials, trial, **info):
        self.complete.append(trial.config[names.NUMBER])

    def on_trial_error(self, iteration, trials, trial, **info):
        self.failed.append(trial.config[names.NUMBER])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("concurrent", [1, 2])
@pytest.mark.parametrize("dies_before", [[2], [1, 2, 3]])
def test_no_trial_is_to_blame(make_dataset, tmp_path, dies_before, concurrent):
    """Regression: Tune gave up the next trial of that worker, although it had not started."""
    config = replace(ONE_AT_A_TIME, search=replace(ONE_AT_A_TIME.search, max_failures=0))
    run = Run.create(tmp_path / "run", config, Dataset.open(make_dataset(30, 4)), {"study": "s"})
    (tmp_path / "marks").mkdir()
    ends = Ends()
    run_experiment(
        run,
        DiesBetweenTrials,
        {
            names.NUMBER: tune.grid_search(list(range(TRIALS))),
            "marks": str(tmp_path / "marks"),
            "dies_before": dies_before,
        },
        Slots(1, 0, concurrent),
        name_of=lambda trial: f"trial_{trial.config[names.NUMBER]}",
        callbacks=[ends],
        seconds=None,
    )
    assert sorted(ends.complete) == list(range(TRIALS))
    assert ends.failed == []
    killed = sorted(int(mark.name) for mark in (tmp_path / "marks").iterdir())
    assert killed, "no worker was killed between two trials"
    if concurrent == 1:  # with two at once some trials get a worker that has served none
        assert killed == dies_before
