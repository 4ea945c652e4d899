"""TPE with the true outcome of each trial.

Optuna receives the real state of every trial. COMPLETE with its best value means that it ran to its full length. PRUNED
with every intermediate value means that ASHA stopped it; TPE ranks it by its last epoch and its value there. FAIL means
that it crashed or diverged. Ray's own OptunaSearch reports COMPLETE with the last value in all these cases.

Optuna's journal file holds the study and is written as events happen. A resumed search continues the trials that the
journal lists as RUNNING.
"""

from collections import deque
from copy import deepcopy
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState
from ray.tune.search import Searcher

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.search.enough_trials import more_would_not_pay
from resvae_ray.search.study import distributions
from resvae_ray.search.worker_report import Epoch, Failed, Fault, TrainingTask, decode
from resvae_ray.seeds import PROPOSAL, derive


class StudySearch(Searcher):
    """Proposes trials from an Optuna study and reports their outcomes to it.

    Args:
        study: proposes and records the trials.
        config: the space, the seed and the full length of a trial.
        take_up: numbers of trials to hand out again before new ones are proposed.
    """

    def __init__(self, study: optuna.Study, config: Config, take_up: list[int]) -> None:
        super().__init__(metric=names.BEST_VAL_LOSS, mode="min")
        self._study, self._config = study, config
        self._space = distributions(config)
        self._take_up = deque(take_up)
        self._trials: dict[str, optuna.Trial] = {}
        self._told: dict[str, set[int]] = {}  # epochs whose values the study has

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Ray's hook: the space is known already."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Ray's hook: the number and the parameters of the next trial, or FINISHED if no other would pay."""
        if self._take_up:
            number = self._take_up.popleft()
            trial, told = self._resumed(number), self._frozen(number).intermediate_values
        elif more_would_not_pay(self._study, self._config.search):
            return Searcher.FINISHED
        else:
            trial, told = self._proposed(), {}
        self._trials[trial_id], self._told[trial_id] = trial, set(told)
        return TrainingTask(trial.number, dict(trial.params)).as_config()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ray's hook: records an epoch of a running trial."""
        if isinstance(report := decode(result), Epoch):
            self._tell(trial_id, report)

    def _tell(self, trial_id: str, report: Epoch) -> None:
        # An epoch that a trial repeats after a crash is known already.
        if report.epoch not in self._told[trial_id]:
            self._told[trial_id].add(report.epoch)
            self._trials[trial_id].report(report.best_val_loss, report.epoch)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Ray's hook: the trial ended. A trial that never began, or did not cause a fault, stays resumable."""
        trial, report = self._trials[trial_id], decode(result)
        if isinstance(report, Fault):
            return
        if error or isinstance(report, Failed):
            self._study.tell(trial, state=TrialState.FAIL)
        elif report is not None:
            self._tell(trial_id, report)
            if report.ends(self._config.training):
                self._study.tell(trial, report.best_val_loss)
            else:
                self._study.tell(trial, state=TrialState.PRUNED)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Ray's hook: nothing to save, the journal is the record."""

    def save(self, checkpoint_path: str) -> None:
        """Ray's hook: see `save_to_dir`."""

    def restore(self, checkpoint_path: str) -> None:
        """Ray's hook: a search resumes from the journal, never from Ray's snapshot."""

    def __getstate__(self) -> dict[str, Any]:
        """Omits the open study: Ray pickles the searcher for a restore that is not used here."""
        return {"_metric": self._metric, "_mode": self._mode}

    def _resumed(self, number: int) -> optuna.Trial:
        """A trial that has begun. Draws the parameters that were not yet written when the process was killed."""
        self._study.sampler = self._sampler(number)
        known = deepcopy(self._frozen(number))
        trial = optuna.Trial(self._study, known._trial_id)
        for name, distribution in self._space.items():
            if name in known.params and _is_drawn_alone(trial, name, distribution):
                # This value is already written. Drawing it again advances the random numbers.
                self._study.sampler.sample_independent(self._study, known, name, distribution)
            trial._suggest(name, distribution)
        return trial

    def _frozen(self, number: int) -> optuna.trial.FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _proposed(self) -> optuna.Trial:
        self._study.sampler = self._sampler(len(self._study.get_trials(deepcopy=False)))
        return self._study.ask(fixed_distributions=self._space)

    def _sampler(self, number: int) -> optuna.samplers.TPESampler:
        """TPE for one trial. Its draws depend on seed and number, so a resumed search proposes the same."""
        search = self._config.search
        return optuna.samplers.TPESampler(
            seed=derive(PROPOSAL, search.seed, number) % 2**32,
            n_startup_trials=search.startup_trials,
            multivariate=True,
            constant_liar=True,
        )


def _is_drawn_alone(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> bool:
    """Whether Optuna draws a value for this parameter when it is asked for it, as `Trial._suggest` decides."""
    return not (
        trial._is_fixed_param(name, distribution)
        or distribution.single()
        or trial._is_relative_param(name, distribution)
    )
