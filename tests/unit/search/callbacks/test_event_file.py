import errno
import os
import threading
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import Summary

from resvae_ray.search.callbacks.tensorboard import EventFile


def scalar(value):
    return Summary(value=[Summary.Value(tag="loss", simple_value=value)])


def test_added_events_are_readable_at_once(tmp_path):
    file = EventFile(tmp_path / "board")
    for step in (1, 2):
        file.add(scalar(0.5 * step), step)
        points = EventAccumulator(str(tmp_path / "board")).Reload().Scalars("loss")
        assert [(point.step, point.value) for point in points] == [(s, 0.5 * s) for s in range(1, step + 1)]


def test_files_created_in_the_same_second_are_read_together(tmp_path):
    EventFile(tmp_path).add(scalar(1.0), 1)
    EventFile(tmp_path).add(scalar(2.0), 2)
    assert len(list(tmp_path.iterdir())) == 2
    assert len(EventAccumulator(str(tmp_path)).Reload().Scalars("loss")) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported_to_the_writer_only(tmp_path, capfd):
    """TensorBoard's own writer fails in its own thread, which prints a traceback to the terminal."""
    threads = threading.active_count()
    file = EventFile(tmp_path)
    (written,) = tmp_path.iterdir()
    written.unlink()
    written.symlink_to("/dev/full")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as told:
        file.add(scalar(1.0))
    assert told.value.errno == errno.ENOSPC
    assert threading.active_count() == threads
    assert capfd.readouterr().err == ""
