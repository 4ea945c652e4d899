"""TensorBoard for a search: a separate process on loopback that always ends with the search.

The process reads from a pipe that only the search holds open. The pipe carries no data. It closes when the search ends,
stops or is killed, and the process then exits.
"""

import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

START_S = 60.0  # until it must have an address
END_S = 10.0  # until it must have ended


@contextmanager
def tensorboard_server(folder: Path) -> Iterator[str | None]:
    """The address of a TensorBoard that shows `folder`, on a free port; None, and a line on stderr, if none starts."""
    with tempfile.TemporaryFile("w+") as log, _started(folder, log) as process:
        address = _address(process)
        if address:
            print(f"TensorBoard: {address}", file=sys.stderr)
        else:
            print(f"TensorBoard did not start, the search continues without it: {_last_line(log)}", file=sys.stderr)
        yield address or None


@contextmanager
def _started(folder: Path, log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    process = subprocess.Popen(  # noqa: S603 (this module)
        [sys.executable, "-P", "-m", __name__, str(folder)],  # -P: it imports what the search imports
        env=os.environ | {"PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,  # Ctrl-C is for the search, which then ends this
    )
    try:
        yield process
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: "subprocess.Popen[str]") -> str:
    """The line that the process prints when it can be reached; empty if it ends or takes too long."""
    if process.stdout is None:
        return ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline().strip() if selector.select(START_S) else ""


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = log.read().strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def serve(folder: str) -> None:
    """Shows `folder`, prints the address, and exits when stdin closes."""
    from tensorboard.program import TensorBoard

    board = TensorBoard()
    board.configure(argv=["tensorboard", "--logdir", folder, "--host", "127.0.0.1", "--port", "0"])
    print(board.launch(), flush=True)
    sys.stdin.read()
    # Threads of the server may still be writing to a browser that is gone.
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
