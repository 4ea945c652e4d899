"""How much of a search is left, and how people read it."""

from collections.abc import Collection
from statistics import fmean


def epochs_left(trials: int, length: int, ended: Collection[int], running: Collection[int]) -> float | None:
    """Epochs that a search has still to train; None while no trial has ended.

    A trial to come is taken for the mean of those that have ended. One that runs is taken for the mean of those that
    came further than it has: the longer a trial has survived, the longer it will.

    Args:
        trials: in all.
        length: of a whole trial, in epochs.
        ended, running: the epochs of the trials that have ended and of those that run.
    """
    if not ended:
        return None
    waiting = max(0, trials - len(ended) - len(running))
    return waiting * fmean(ended) + sum(_rest(epochs, length, ended) for epochs in running)


def _rest(epochs: int, length: int, ended: Collection[int]) -> float:
    further = [other for other in ended if other > epochs]
    return max(1.0, (fmean(further) if further else length) - epochs)


def duration(seconds: float) -> str:
    """A time in two units: 1 h 05 min."""
    minutes = int(seconds // 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {int(seconds) % 60:02d} s" if minutes else f"{int(seconds)} s"
