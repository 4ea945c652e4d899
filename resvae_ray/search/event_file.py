"""TensorBoard's event files, written in the thread that has the event.

TensorBoard's own writer has a thread of its own, which ends with a traceback on the terminal when the disk is full; the
error reaches whoever writes next, or nobody.
"""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers make their classes when they are imported, out of sight of a type checker.

import io
import itertools
import os
import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

VERSION = "brain.Event:2"  # with which every such file begins
_count = itertools.count()


class EventFile:
    """A new event file in a folder, which is made where it is missing. It is open only while an event is written.

    Raises:
        OSError: the folder or the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_count)}"
        self._path = folder / name
        self._append(Event(wall_time=time.time(), file_version=VERSION))

    def add(self, summary: Summary, step: int = 0) -> None:
        """Appends an event of this moment.

        Args:
            step: the epoch of its scalars.

        Raises:
            OSError: it cannot be written.
        """
        self._append(Event(wall_time=time.time(), step=step, summary=summary))

    def _append(self, event: Event) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        with self._path.open("ab") as file:
            file.write(record.getvalue())
