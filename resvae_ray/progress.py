"""Progress of long work: it calls a function with the rows done and, if known, all rows. Times as people read them."""

from collections.abc import Callable

Progress = Callable[[int, int | None], None]


def silent(rows: int, total: int | None) -> None:
    """Shows no progress."""


def duration(seconds: float) -> str:
    """A time in two units: 1 h 05 min."""
    minutes = int(seconds // 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {int(seconds) % 60:02d} s" if minutes else f"{int(seconds)} s"
