"""When a search with `trials = "auto"` ends: as soon as more trials would not pay.

The rule compares the lowest loss of the older half of the ended trials with that of all of them. If the newer half
lowered it by less than LEAST_GAIN, no further trial begins. The reasoning:

- The lowest of n losses falls with the logarithm of n, and ever more slowly near the lowest loss of the space. If the
  last doubling of the trials gained nothing, the next one, which costs twice as much, cannot be expected to.
- LEAST_GAIN is the range of one configuration's loss over seeds (1.2 % in benchmarks/RESULTS.md). A smaller gain is
  mostly luck of the seed.
- TPE proposes at random until it has `startup_trials`. The newer half must hold as many proposals of its own.

The rule reads nothing but the study, so a resumed search makes the same decision. The decision is recorded in the
study once all trials have ended.
"""

from collections.abc import Sequence
from math import inf

import optuna
from optuna.trial import FrozenTrial, TrialState

from resvae_ray import names
from resvae_ray.config import AUTO, SearchConfig
from resvae_ray.search.run.journal import is_paused

LEAST_GAIN = 0.01  # of the lowest loss


def reason_to_end(losses: Sequence[float], startup_trials: int) -> str | None:
    """Why more trials would not pay, as a sentence; None if they may.

    Args:
        losses: the lowest loss of each trial, in the order in which the trials began; infinite for a failed one.
        startup_trials: random trials before TPE begins to propose.
    """
    newer = len(losses) // 2
    if len(losses) < 2 * startup_trials or newer == 0:
        return None
    before, lowest = min(losses[:-newer]), min(losses)
    if not before < inf or (gain := 1 - lowest / before if before > 0 else 0.0) >= LEAST_GAIN:
        return None
    return f"the last {newer} of {len(losses)} trials lowered the loss by {gain:.1%}, less than {LEAST_GAIN:.0%}"


def more_would_not_pay(study: optuna.Study, search: SearchConfig) -> str | None:
    """`reason_to_end` for the ended and paused trials of a study if the search is to end by itself; else None."""
    if search.trials != AUTO:
        return None
    losses = [_lowest(trial) for trial in study.get_trials(deepcopy=False) if not _is_to_come(trial)]
    return reason_to_end(losses, search.startup_trials)


def _is_to_come(trial: FrozenTrial) -> bool:
    """Whether the trial has not begun, or runs."""
    return not trial.state.is_finished() and not is_paused(trial.user_attrs)


def _lowest(trial: FrozenTrial) -> float:
    if trial.state == TrialState.RUNNING:  # it is paused
        return min(trial.intermediate_values.values())
    return inf if trial.value is None or trial.state == TrialState.FAIL else trial.value


def trials_to_begin(study: optuna.Study, search: SearchConfig) -> int:
    """How many trials may still begin. If more would not pay and none is left to end, the study records the reason."""
    begun = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    left = max(0, search.most_trials - len(begun))
    running = any(_is_to_come(trial) for trial in begun)
    reason = more_would_not_pay(study, search) if left and not running else None
    if study.user_attrs.get(names.ENOUGH) != reason:
        study.set_user_attr(names.ENOUGH, reason)
    return 0 if reason else left
