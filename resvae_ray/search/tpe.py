"""TPE with the true outcome of each trial.

Optuna receives the real state of every trial. COMPLETE with its best value means that it ran to its full length. PRUNED
with every intermediate value means that ASHA stopped it; TPE ranks it by its last epoch and its value there. FAIL means
that it crashed or diverged. Ray's own OptunaSearch reports COMPLETE with the last value in all these cases.

Optuna's journal file holds the study and is written as events happen. A resumed search continues the trials that the
journal lists as RUNNING.
"""

from collections import deque
from collections.abc import Sequence
from copy import copy, deepcopy
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.search.enough_trials import more_would_not_pay
from resvae_ray.search.promotion import Ladder
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
            trial = self._resumed(number)
        elif more_would_not_pay(self._study, self._config.search):
            return Searcher.FINISHED
        else:
            trial = self._proposed()
        self._begin(trial_id, trial)
        return TrainingTask(trial.number, dict(trial.params)).as_config()

    def _begin(self, trial_id: str, trial: optuna.Trial) -> None:
        """Records the trial of the study that a trial of Ray's stands for."""
        self._trials[trial_id] = trial
        self._told[trial_id] = set(self._frozen(trial.number).intermediate_values)

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

    sampler_class = optuna.samplers.TPESampler

    def _sampler(self, number: int) -> optuna.samplers.TPESampler:
        """TPE for one trial. Its draws depend on seed and number, so a resumed search proposes the same."""
        search = self._config.search
        return self.sampler_class(
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


class TrueStates(optuna.samplers.TPESampler):
    """TPE to which paused trials are PRUNED, with all their values. Optuna has no such state; to it, they run.

    A promoted trial keeps the values that it had when it paused, so it counts as PRUNED too until it ends. A trial that
    has not reached its first rung is RUNNING.
    """

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return super().infer_relative_search_space(_with_paused_pruned(study), trial)

    def sample_relative(
        self, study: Any, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(_with_paused_pruned(study), trial, search_space)

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return super().sample_independent(_with_paused_pruned(study), trial, param_name, param_distribution)


def _with_paused_pruned(study: optuna.Study) -> Any:
    """The study as a sampler reads it, in which the trials that have paused are PRUNED."""
    return _Seen(study)


class _Seen:
    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Sequence[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = [_seen(trial) for trial in self._study.get_trials(deepcopy=False)]
        return [trial for trial in trials if states is None or trial.state in states]


def _seen(trial: FrozenTrial) -> FrozenTrial:
    rung = trial.user_attrs.get(names.PAUSED_AT)
    if trial.state != TrialState.RUNNING or rung is None:
        return trial
    seen = copy(trial)
    seen.state = TrialState.PRUNED
    seen.intermediate_values = {epoch: v for epoch, v in trial.intermediate_values.items() if epoch <= rung}
    return seen


class PromotingSearch(StudySearch):
    """Proposes trials and continues paused ones; see `StudySearch`."""

    sampler_class = TrueStates

    def __init__(self, study: optuna.Study, config: Config, take_up: list[int]) -> None:
        super().__init__(study, config, take_up)
        self._ladder = Ladder(config)
        self._running: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        """Ray's hook: the next stretch of a trial; None while the running ones decide it, FINISHED if none is left."""
        trials = self._study.get_trials(deepcopy=False)
        may_begin = self._may_begin(trials)
        if self._take_up:
            trial = self._resumed(self._take_up.popleft())
        elif (promoted := self._ladder.promoted(trials, ending=not may_begin)) is not None:
            trial = self._resumed(promoted.number)
            trial.set_user_attr(names.UNTIL, self._ladder.after(promoted.user_attrs[names.PAUSED_AT]))
        elif may_begin:
            trial = self._proposed()
        else:
            return None if self._running else Searcher.FINISHED
        self._begin(trial_id, trial)
        self._running.add(trial_id)
        if (until := trial.user_attrs.get(names.UNTIL)) is None:
            trial.set_user_attr(names.UNTIL, until := self._ladder.after(0))
        since = trial.user_attrs.get(names.PAUSED_AT, 0)
        return TrainingTask(trial.number, dict(trial.params), paused_at=since, until=until).as_config()

    def _may_begin(self, trials: Sequence[FrozenTrial]) -> bool:
        begun = sum(trial.state != TrialState.WAITING for trial in trials)
        return begun < self._config.search.most_trials and not more_would_not_pay(self._study, self._config.search)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Ray's hook: a stretch of a trial ended: the trial ended or pauses."""
        self._running.discard(trial_id)
        trial, report = self._trials[trial_id], decode(result)
        if isinstance(report, Epoch) and not error and not report.ends(self._config.training):
            self._tell(trial_id, report)
            trial.set_user_attr(names.PAUSED_AT, report.epoch)
        else:
            super().on_trial_complete(trial_id, result, error)
