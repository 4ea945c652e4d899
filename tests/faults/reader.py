"""Reads broken files in a separate process and reports the outcome of each: read, refused, or worse."""

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECONDS_MOST = 60  # for a file of a few kilobytes, on a machine that does other things too
READ, REFUSED = "read", "refused"
HUNG, DIED, BUG, GREEDY = "hung", "died", "traceback", "too much memory"


@dataclass(frozen=True)
class Outcome:
    """The outcome of reading a file.

    Attributes:
        kind: read, refused, or what must not be.
        text: the message, if it was not read.
        rows: what was read: each row as a list.
        peak_mb: how much the memory of the process grew.
    """

    kind: str
    text: str = ""
    rows: list = field(default_factory=list)
    peak_mb: float = 0.0


class Reader:
    """A process that reads one file after another; after a hang or a death another one takes its place."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def read(self, how: str, path: Path) -> Outcome:
        """Reads `path` in one of the ways of reading.py."""
        process = self._process = self._process or _start()
        process.stdin.write(json.dumps([how, str(path)]) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], SECONDS_MOST)[0]:
            self.close()
            return Outcome(HUNG, f"no answer for {SECONDS_MOST} s")
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self.close()
            return Outcome(DIED, signal.Signals(-code).name if code < 0 else f"exit code {code}")
        return Outcome(**json.loads(line))

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _start() -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "reading.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    process.stdout.readline()  # it is ready
    return process
