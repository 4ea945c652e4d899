"""ASHA that survives a restart.

Ray's AsyncHyperBandScheduler (Li et al. 2020, arXiv:1810.05934) loses its rungs when a search resumes. It then judges
the surviving trials again, at epochs that are not rungs. This scheduler rebuilds the rungs from the study's
intermediate values. It draws each trial's bracket from the seed and the trial number.
"""

import math
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.search.worker_report import Epoch, decode, task_of
from resvae_ray.seeds import BRACKET, derive

History = dict[int, dict[int, float]]


def history_of(study: optuna.Study) -> History:
    """The values of every trial, by epoch.

    The last value of an unfinished trial is omitted, because the process may have been killed while ASHA judged it. The
    trial reports that value again, and ASHA judges it then.
    """
    history = {}
    for trial in study.get_trials(deepcopy=False):
        values = dict(trial.intermediate_values)
        if trial.state == TrialState.RUNNING and values:
            del values[max(values)]
        history[trial.number] = values
    return history


class DurableASHA(AsyncHyperBandScheduler):
    """ASHA on the running minimum of the validation loss, by epoch.

    Args:
        config: grace, reduction factor, brackets, the full length of a trial, the seed.
        history: what earlier sessions of the same search reported.
    """

    def __init__(self, config: Config, history: History | None = None) -> None:
        search, epochs = config.search, config.training.epochs
        super().__init__(
            time_attr=names.EPOCH,
            metric=names.BEST_VAL_LOSS,
            mode="min",
            max_t=epochs,
            grace_period=min(search.grace, epochs),
            reduction_factor=search.reduction_factor,
            brackets=search.brackets,
        )
        self._seed = search.seed
        for number, values in (history or {}).items():
            self._remember(number, values)

    def rung_epochs(self) -> list[int]:
        """The epochs at which trials are judged."""
        return sorted({math.ceil(milestone) for bracket in self._brackets for milestone, _ in bracket._rungs})

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Ray's hook: assigns the trial's bracket and, for a resumed trial, restores its rung records."""
        number = task_of(trial.config).number
        bracket = self._bracket(number)
        self._trial_info[trial.trial_id] = bracket
        for _, recorded in bracket._rungs:
            if number in recorded:
                recorded[trial.trial_id] = recorded.pop(number)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Ray's hook: decides whether the trial continues or stops."""
        if not isinstance(decode(result), Epoch):
            return TrialScheduler.STOP
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Ray's hook: records nothing, because the rungs already hold every judged value."""
        self._trial_info.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._trial_info.pop(trial.trial_id, None)

    def _bracket(self, number: int) -> Any:
        """Draws a bracket as Ray does, by a softmax over rung counts, but from the seed and the trial number."""
        sizes = np.array([len(bracket._rungs) for bracket in self._brackets])
        odds = np.exp(sizes - sizes.max())
        generator = np.random.default_rng(derive(BRACKET, self._seed, number))
        return self._brackets[generator.choice(len(self._brackets), p=odds / odds.sum())]

    def _remember(self, number: int, values: dict[int, float]) -> None:
        for milestone, recorded in self._bracket(number)._rungs:
            reached = [epoch for epoch in values if epoch >= milestone]
            if reached:
                recorded[number] = -values[min(reached)]
