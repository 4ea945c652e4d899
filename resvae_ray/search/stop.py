"""Ctrl-C and SIGTERM, as a stop in good order."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask Tune to stop, which it does in good order on SIGUSR1; a second one stops at once.

    Yields:
        Set when the user has asked. Outside the main thread, where signals do not arrive, it never is.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def stop(number: int, frame: object) -> None:
        if asked.is_set() or signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, signal.SIG_IGN):
            raise KeyboardInterrupt
        asked.set()
        os.kill(os.getpid(), signal.SIGUSR1)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers[:2]:
            signal.signal(number, stop)
        yield asked
    finally:
        for number in numbers:
            signal.signal(number, before[number])
