"""A process that is killed while it writes: at the n-th change or flush, when a file has grown to
a number of bytes, or after some time.

    python tests/faults/dying.py      # for each line of standard input, prints what became of the process that wrote

Each write is done by a child, for which nothing has to be loaded again.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
DIED, DONE, FAILED = "died", "done", "failed"
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link", "os.symlink")


class Writer:
    """The process, seen from a test."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._process.stdout.readline()  # it is ready

    def write(self, name: str, folder: Path, **death: float) -> tuple[str, float]:
        """Runs one of `writes.WRITES`, unless `step`, `size` or `after` kills it; returns outcome and seconds."""
        self._process.stdin.write(json.dumps([name, str(folder), death]) + "\n")
        self._process.stdin.flush()
        fate, seconds = json.loads(self._process.stdout.readline())
        return fate, seconds

    def close(self) -> None:
        """Ends it."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve() -> None:
    import torch
    from writes import WRITES

    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        name, folder, death = json.loads(line)
        started = time.monotonic()
        child = os.fork()
        if not child:
            _write(WRITES[name].write, Path(folder), **death)
        if "after" in death:
            time.sleep(death["after"])
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        fate = {0: DONE, -signal.SIGKILL: DIED, -signal.SIGXFSZ: DIED}.get(code, FAILED)
        print(json.dumps([fate, time.monotonic() - started]), flush=True)


def _write(write, folder: Path, step: int = 0, size: int = -1, after: float = 0) -> None:
    """Never returns."""
    code = 1
    try:
        if step:
            _die_at(step, str(folder))
        if size >= 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        write(folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _die_at(step: int, folder: str) -> None:
    """Before the process makes its `step`-th change in the folder, or flushes something to the disk."""
    count, flush = 0, os.fsync

    def tick() -> None:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def see(event: str, arguments: tuple) -> None:
        if event in EVENTS and arguments and str(arguments[0]).startswith(folder):
            tick()

    def fsync(descriptor: int) -> None:
        tick()
        flush(descriptor)

    sys.addaudithook(see)
    os.fsync = fsync


if __name__ == "__main__":
    serve()
