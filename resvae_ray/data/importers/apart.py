"""A reader in a process of its own: a damaged file can make a library loop or crash where no Python code could stop it.

The process has a limit of CPU seconds from one batch to the next; beyond it, the kernel ends the process. Waiting for a
slow disk does not count.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pyarrow as pa

from resvae_ray import errors
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.schema import FeatureBatch, as_array
from resvae_ray.errors import DataError, JobError, in_words
from resvae_ray.names import FEATURES, ID

SECONDS_MOST = 120  # of a processor for one batch, which takes well below a second
MEMORY_SHARE = 0.8  # of the machine's: what a file claims beyond it is refused before the machine is short of it
END = "end"


def read_apart(
    read: Callable[[str, ColumnChoice], Iterator[FeatureBatch]], source: str, choice: ColumnChoice
) -> Iterator[FeatureBatch]:
    """Yields the batches of `read(source, choice)`; `read` is a function of a module.

    Raises:
        DataError: also if its process did not finish, or crashed.
        JobError: its process could not run, or another process killed it.
    """
    rows = 0
    with _process(read.__module__, read.__name__, source, json.dumps(asdict(choice)), str(SECONDS_MOST)) as (
        child,
        end,
    ):
        try:
            while (about := json.loads(end.recv_bytes())) != END:
                if "error" in about:
                    raise getattr(errors, about["kind"])(about["error"])
                batch = _unpacked(end.recv_bytes(), about["found"])
                rows += len(batch)
                yield batch
        except EOFError:
            raise _death(child.wait(), source, rows) from None


@contextmanager
def _process(*arguments: str) -> Iterator[tuple[subprocess.Popen, Connection]]:
    """A process that works on `serve(*arguments)`, and our end of its pipe."""
    ours, its = Pipe(duplex=False)
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    child = subprocess.Popen(  # noqa: S603 - this interpreter, this module
        [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()", str(its.fileno()), *arguments],
        pass_fds=[its.fileno()],
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,  # Ctrl-C is for us alone
    )
    its.close()
    try:
        yield child, ours
    finally:
        ours.close()
        child.kill()
        child.wait()


def _death(code: int, source: str, rows: int) -> errors.ResVAERayError:
    if code == -signal.SIGXCPU:
        return DataError(f"{source}: after row {rows}: reading on comes to no end; the file is damaged")
    if code in (-signal.SIGKILL, -signal.SIGTERM) or code >= 0:
        return JobError(
            f"{source}: after row {rows}: the process that reads it has ended ({code}); memory may be short"
        )
    name = signal.Signals(-code).name
    return DataError(f"{source}: after row {rows}: its library crashes on it ({name}); the file is damaged")


def _unpacked(content: bytes, found: dict[str, str]) -> FeatureBatch:
    with pa.ipc.open_stream(content) as stream:
        table = stream.read_all()
    vectors = as_array(table.column(FEATURES))
    matrix = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
    return FeatureBatch(as_array(table.column(ID)), matrix, table.drop_columns([ID, FEATURES]), found)


def serve() -> None:
    """The process: reads, and sends batch by batch, each after a line of JSON about it."""
    descriptor, module, name, source, choice, seconds = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _bound(resource.RLIMIT_AS, int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    end = Connection(int(descriptor), readable=False)
    try:
        read = getattr(import_module(module), name)
        _allow(int(seconds))
        for batch in read(source, ColumnChoice(**json.loads(choice))):
            _send(end, batch)
            _allow(int(seconds))
        end.send_bytes(json.dumps(END).encode())
    except BrokenPipeError:  # the parent has closed the pipe
        pass
    except Exception as error:
        kind, text = in_words(error)
        end.send_bytes(json.dumps({"kind": kind, "error": text}).encode())


def _allow(seconds: int) -> None:
    """Limits the process to `seconds` more CPU seconds."""
    _bound(resource.RLIMIT_CPU, int(time.process_time()) + seconds)


def _bound(what: int, limit: int) -> None:
    most = resource.getrlimit(what)[1]
    resource.setrlimit(what, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _send(end: Connection, batch: FeatureBatch) -> None:
    table = batch.table()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    end.send_bytes(json.dumps({"found": dict(batch.found)}).encode())
    end.send_bytes(sink.getvalue())
