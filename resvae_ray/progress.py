"""How long work tells how far it is: it calls a function with the rows done and, where they are known, all rows."""

from collections.abc import Callable

Progress = Callable[[int, int | None], None]


def silent(rows: int, total: int | None) -> None:
    """Tells nobody."""
