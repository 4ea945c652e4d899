"""How much of a search is left, and how people read it."""

from collections.abc import Collection


def epochs_left(trials: int, ended: Collection[int], running: Collection[int]) -> float | None:
    """Epochs that a search has still to train, by the mean of the trials that have ended; None while none has.

    Args:
        trials: in all.
        ended, running: the epochs of the trials that have ended and of those that run.
    """
    if not ended:
        return None
    mean = sum(ended) / len(ended)
    waiting = max(0, trials - len(ended) - len(running))
    return waiting * mean + sum(max(1.0, mean - epochs) for epochs in running)


def duration(seconds: float) -> str:
    """A time in two units: 1 h 05 min."""
    minutes = int(seconds // 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {int(seconds) % 60:02d} s" if minutes else f"{int(seconds)} s"
