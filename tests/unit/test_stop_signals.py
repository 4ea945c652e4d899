"""SIGTERM and SIGHUP do what Ctrl-C does."""

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from resvae_ray import stop_signals
from resvae_ray.stop_signals import interrupted_by_signals, on_signals

TERMINAL = """
import fcntl, pathlib, sys, termios, time
from resvae_ray.stop_signals import interrupted_by_signals
fcntl.ioctl(1, termios.TIOCSCTTY, 0)
try:
    with interrupted_by_signals():
        print("ready", flush=True)
        time.sleep(30)
except KeyboardInterrupt:
    print("stopped", file=sys.stderr, flush=True)
    print("resume it", flush=True)
    pathlib.Path(sys.argv[1]).write_text("in good order")
"""


@pytest.fixture(autouse=True)
def default_handlers():
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_and_the_handler_before_comes_back(number):
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) == signal.SIG_DFL


def test_the_same_wish_sent_twice_counts_once(monkeypatch):
    """`timeout` signals its child and then its own process group, of which the child is a member."""
    acted = []
    with on_signals([signal.SIGTERM, signal.SIGHUP], lambda: acted.append(1)):
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        assert acted == [1]
        monkeypatch.setattr(stop_signals, "REPEAT_S", 0.0)
        signal.raise_signal(signal.SIGTERM)
        assert acted == [1, 1]


def test_what_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interrupted_by_signals():
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_outside_the_main_thread_nothing_changes():
    seen = []

    def work():
        with interrupted_by_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_a_terminal_that_is_closed(tmp_path):
    """Output to it would raise OSError in the middle of the stop."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, str(tmp_path / "end")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert b"ready" in os.read(ours, 100)
    os.close(ours)
    assert process.wait(20) == 0
    assert (tmp_path / "end").read_text() == "in good order"
