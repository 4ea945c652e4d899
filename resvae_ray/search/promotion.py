"""ASHA that pauses and promotes, after Li et al. 2020, arXiv:1810.05934, algorithm 2.

Every trial pauses at a rung. A free slot continues the most promising paused trial of the highest rung, if it is among
the best 1/factor there; otherwise a new trial begins. No trial is stopped for good while the search runs: a trial that
others overtook waits, and may be promoted when more trials have reached its rung. Two things differ from the paper:

- Trials are compared by the loss that they would come to at the next rung, if it fell on as a power of the epoch:
  loss(r)² / loss(r / factor). Losses at a rung favour high learning rates, which lead early and end higher. On 64
  recorded curves Spearman's correlation with the final loss rises from 0.77 to 0.86 among the best 24 at epoch 30, and
  from 0.41 to 0.50 at epoch 10 (benchmarks/RESULTS.md).
- A trial is compared with the others, (n - 1) / factor of which may be promoted: less is staked on the first trials,
  which are random. When no new trial may begin, it is n / factor, and at least one, so that a trial comes to its end.

For Ray Tune, each stretch of a trial from one rung to the next is a trial of its own, which resumes from the trial's
folder as a resumed search does. Tune can pause trials itself, but counts paused trials against its limit of concurrent
ones and has no callback for a pause.

All decisions follow from the study: the values by epoch, and two attributes of each trial, `until` and `paused_at`. So
a resumed search makes the decisions of an undisturbed one.
"""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.search.run.journal import is_paused
from resvae_ray.search.rungs import rung_epochs


class Ladder:
    """The rungs of a search, and who is promoted from them.

    Attributes:
        rungs: the epochs at which trials pause.
    """

    def __init__(self, config: Config) -> None:
        self.rungs = rung_epochs(config)
        self._length, self._factor = config.training.epochs, config.search.reduction_factor

    def after(self, epoch: int) -> int:
        """The epoch to which a trial trains that has trained `epoch` epochs: the next rung, or its end."""
        return next((rung for rung in self.rungs if rung > epoch), self._length)

    def promoted(self, trials: Sequence[FrozenTrial], ending: bool) -> FrozenTrial | None:
        """The paused trial to continue next; None if none is among the best of its rung.

        Args:
            trials: of the study.
            ending: whether no new trial may begin.
        """
        for rung in reversed(self.rungs):
            there = [trial for trial in trials if rung in trial.intermediate_values and trial.state != TrialState.FAIL]
            most = max(1, int(len(there) / self._factor)) if ending else int((len(there) - 1) / self._factor)
            for trial in sorted(there, key=lambda trial: (self._expected(trial, rung), trial.number))[:most]:
                if is_paused_at(trial, rung):
                    return trial
        return None

    def _expected(self, trial: FrozenTrial, rung: int) -> float:
        """The lowest loss at `factor` times the epochs of the rung, if it falls as a power of the epoch."""
        now = trial.intermediate_values[rung]
        before = trial.intermediate_values.get(max(1, round(rung / self._factor)), now)
        return now * now / before if before > 0 else now


def is_paused_at(trial: FrozenTrial, rung: int) -> bool:
    """Whether a trial is paused at that epoch."""
    paused = trial.state == TrialState.RUNNING and is_paused(trial.user_attrs)
    return paused and trial.user_attrs[names.PAUSED_AT] == rung
