"""A reader that loops, crashes or is killed loses only its own process, and the error says so."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from formats import FORMATS
from odd_readers import crashes, goes_on_for_ever, is_killed, loops, refuses, sleeps

from resvae_ray.data import importers
from resvae_ray.data.importers import apart, h5ad, hdf5, import_features
from resvae_ray.data.importers.apart import read_apart
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError, JobError, UsageError

IDS = [f"P{number:02d}" for number in range(20)]


@pytest.mark.parametrize("name", ["proteins.h5", "matrix.hdf5", "obsm.h5ad"])
def test_the_batches_are_those_of_the_reader(name, matrix, tmp_path):
    FORMATS[name].write(tmp_path / name, matrix, IDS, ["a", "b"] * 10)
    read = h5ad.read if name.endswith("h5ad") else hdf5.read
    here, there = (list(way(str(tmp_path / name), ColumnChoice())) for way in (read, lambda *a: read_apart(read, *a)))
    assert len(here) == len(there) == 1
    assert here[0].table().equals(there[0].table())
    assert dict(here[0].found) == dict(there[0].found)


@pytest.mark.parametrize("ending", [".h5", ".hdf5", ".h5ad"])
def test_import_reads_hdf5_apart(ending, tmp_path, monkeypatch):
    monkeypatch.undo()
    (tmp_path / f"a{ending}").write_bytes(b"no HDF5")
    monkeypatch.setattr(importers, "read_apart", lambda read, *a: (_ for _ in ()).throw(DataError("apart")))
    with pytest.raises(DataError, match="apart"):
        import_features(tmp_path / f"a{ending}", tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("read", "kind", "message"),
    [
        (loops, DataError, "a.h5: after row 20: reading on comes to no end; the file is damaged"),
        (crashes, DataError, r"a.h5: after row 20: its library crashes on it \(SIGSEGV\); the file is damaged"),
        (is_killed, JobError, r"a.h5: after row 0: the process that reads it has ended \(-9\); memory may be short"),
        (refuses, UsageError, "a.h5: --sheet one: no such sheet"),
    ],
)
def test_errors_in_the_process_are_reported(read, kind, message, monkeypatch):
    monkeypatch.setattr(apart, "SECONDS_MOST", 2)
    with pytest.raises(kind, match=message):
        list(read_apart(read, "a.h5", ColumnChoice(sheet="one")))


def test_waiting_for_a_disk_is_not_a_loop(monkeypatch):
    monkeypatch.setattr(apart, "SECONDS_MOST", 2)
    assert [len(batch) for batch in read_apart(sleeps, "a.h5", ColumnChoice())] == [20]


def test_its_process_ends_with_the_reader():
    batches = read_apart(goes_on_for_ever, "a.h5", ColumnChoice())
    next(batches)
    pid = batches.gi_frame.f_locals["child"].pid
    batches.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_its_process_ends_with_a_killed_one(tmp_path):
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from odd_readers import goes_on_for_ever
from resvae_ray.data.importers.apart import read_apart
from resvae_ray.data.layout import ColumnChoice
batches = read_apart(goes_on_for_ever, "a.h5", ColumnChoice())
next(batches)
print(batches.gi_frame.f_locals["child"].pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        pid = int(driver.stdout.readline())
        driver.kill()
    stat, deadline = Path(f"/proc/{pid}/stat"), time.monotonic() + 20
    while stat.exists() and " Z " not in stat.read_text():
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.1)
