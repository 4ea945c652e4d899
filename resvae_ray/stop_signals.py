"""SIGTERM and SIGHUP (a closed terminal, a lost connection) end a command as Ctrl-C does, with exit code 130."""

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REPEAT_S = 1.0  # `timeout`, shells and service managers send a signal twice, or two signals, for one wish


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, as Ctrl-C does."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with on_signals(STOP_SIGNALS[1:], interrupt):
        yield


@contextmanager
def on_signals(numbers: Sequence[int], act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` on each of these signals, but not again within a second.

    Signals that the caller ignores, as `nohup` does, stay ignored. Outside the main thread nothing changes: signals
    arrive in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -REPEAT_S

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if number == signal.SIGHUP:
            leave_dead_terminal()
        if time.monotonic() - last >= REPEAT_S:
            last = time.monotonic()
            act()

    found = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_dead_terminal() -> None:
    """Sends output to nowhere where it would go to a terminal that is gone, and raise OSError."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            descriptor = stream.fileno() if stream else -1
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        except (OSError, ValueError):  # it is closed
            continue
