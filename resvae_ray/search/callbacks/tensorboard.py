"""TensorBoard: scalars per trial and epoch, and the HPARAMS table with every trial from its start.

Ray's own logger writes the hyperparameters of a trial when it ends, and only if it reported; its files stay in a
temporary folder for minutes. Here they go straight into RUN/tune, one folder per trial, with a readable name.

TensorBoard's own writer uses a thread. If the disk is full, that thread prints a traceback, and the caller may never
receive the error. `EventFile` writes in the calling thread.
"""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers make their classes when they are imported, out of sight of a type checker.

import io
import itertools
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams_summary
from tensorboard.summary.writer.record_writer import RecordWriter

from resvae_ray import names
from resvae_ray.config import Config, Domain
from resvae_ray.search.callbacks.listener import Listener
from resvae_ray.search.run.run import Run
from resvae_ray.search.space import describe
from resvae_ray.search.worker_report import Epoch, Failed, TrainingTask

VERSION = "brain.Event:2"  # the first event of every event file
_count = itertools.count()


class EventFile:
    """A new event file. It creates a missing folder, and opens the file only to write an event.

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


SCALARS = {
    names.TRAIN_LOSS: "loss/train",
    names.VAL_LOSS: "loss/validation",
    names.BEST_VAL_LOSS: "loss/best_validation",
    names.WORST_LOSS: "loss/worst_row",
    names.PAPER_LOSS: "loss/paper",
    names.VAL_RECONSTRUCTION: "validation/reconstruction",
    names.VAL_KLD: "validation/kld",
    names.R2: "validation/r2",
    names.ACTIVE_UNITS: "validation/active_units",
    names.LEARNING_RATE: "training/lr",
    names.ROWS_PER_SECOND: "training/rows_per_s",
}
NAME_LENGTH = 200  # characters in a trial's folder name; file systems allow 255
SHOWN = (names.BEST_VAL_LOSS, names.R2, names.ACTIVE_UNITS)


@dataclass(frozen=True)
class Board:
    """A training in TensorBoard: its folder below RUN/tune, and its name in HPARAMS, which sorts by name."""

    folder: str
    title: str
    params: Mapping[str, Any]


def board_of(task: TrainingTask) -> Board:
    """The TensorBoard folder and name of a training."""
    if task.repeat is None:
        return Board(board_name(f"trial_{task.number:04d}", task.params), f"trial {task.number:04d}", task.params)
    name = "finalist_" + names.FINALIST_FOLDER.format(number=task.number, repeat=task.repeat)
    title = f"finalist {task.number:04d}, seed {task.repeat + 1}"
    return Board(board_name(name, task.params), title, task.params)


class TensorBoard(Listener):
    """Writes the event files of a search."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.config.training)
        self._folder = run.path / names.TUNE_FOLDER
        self._files: dict[str, EventFile] = {}
        if not list(self._folder.glob("events.out.tfevents.*")):
            EventFile(self._folder).add(_columns(run.config))

    def started(self, task: TrainingTask) -> None:
        """The training is in the table from now on."""
        board = board_of(task)
        if board.folder not in self._files:
            file = EventFile(self._folder / board.folder)
            file.add(hparams_summary.hparams_pb(dict(board.params), trial_id=board.title))
            self._files[board.folder] = file

    def epoch_ended(self, task: TrainingTask, epoch: Epoch) -> None:
        file = self._files.get(board_of(task).folder)
        if file is not None:
            known = ((tag, epoch.metrics[name]) for name, tag in SCALARS.items() if name in epoch.metrics)
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in known]
            file.add(Summary(value=values), epoch.epoch)

    def ended(self, task: TrainingTask, last: Epoch | Failed | None) -> None:
        self._end(task, api_pb2.STATUS_FAILURE if isinstance(last, Failed) else api_pb2.STATUS_SUCCESS)

    def crashed(self, task: TrainingTask, errors: str) -> None:
        self._end(task, api_pb2.STATUS_FAILURE)

    def _end(self, task: TrainingTask, status: Any) -> None:
        file = self._files.pop(board_of(task).folder, None)
        if file is not None:
            end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
            content = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
            value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, tensor=metadata.NULL_TENSOR)
            value.metadata.CopyFrom(SummaryMetadata.FromString(content.SerializeToString()))
            file.add(Summary(value=[value]))


def board_name(name: str, params: Mapping[str, Any]) -> str:
    """The folder below RUN/tune, which TensorBoard shows as the name: the training and its parameters."""
    return f"{name}_{re.sub(r'[^0-9A-Za-z.=_+-]', '_', describe(params))}"[:NAME_LENGTH]


def _columns(config: Config) -> Summary:
    """The columns of the HPARAMS table."""
    parameters = [hparams_summary.HParam(name, _range(domain)) for name, domain in config.space.items()]
    return hparams_summary.hparams_config_pb(parameters, [hparams_summary.Metric(SCALARS[name]) for name in SHOWN])


def _range(domain: Domain) -> hparams_summary.Domain:
    if domain.choices:
        return hparams_summary.Discrete([c if isinstance(c, str) else float(c) for c in domain.choices])
    return hparams_summary.RealInterval(float(domain.low or 0.0), float(domain.high or 0.0))
