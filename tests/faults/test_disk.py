"""Disks that are full, become read-only, or vanish midway: a one-line error, earlier results kept, resumable.

The disk is a small tmpfs, for which root is needed; where it cannot be mounted, the tests skip and say so.
"""

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from searches import ONE_AT_A_TIME, outcome
from writes import WRITES

from resvae_ray.cli import main
from resvae_ray.config_file import config_to_toml
from resvae_ray.errors import JobError
from resvae_ray.search.run.run import Run

pytestmark = pytest.mark.timeout(900)
MEGABYTE = 1 << 20
TRIALS = 6  # enough that a machine that stands still for a second is not done before the disk fails
CONFIG = replace(
    ONE_AT_A_TIME,
    training=replace(ONE_AT_A_TIME.training, epochs=40),
    search=replace(ONE_AT_A_TIME.search, trials=TRIALS, grace=40),
)


class Disk:
    """A disk of some megabytes, in memory, seen at `folder`."""

    def __init__(self, place: Path, megabytes: int) -> None:
        self.folder, self._store, self._filler = place / "disk", place / "store", place / "disk" / "filler"
        self.folder.mkdir()
        self._store.mkdir()
        mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", self._store)
        mount("--bind", self._store, self.folder)

    def fill(self, leave: int = 0) -> None:
        """Fills the disk until this number of bytes is free."""
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            there = os.statvfs(self.folder)
            file.write(bytes(max(0, there.f_bavail * there.f_bsize - leave)))

    def free(self) -> None:
        """Frees the space again."""
        self._filler.unlink()

    def read_only(self) -> None:
        mount("-o", "remount,bind,ro", self.folder)

    def writable(self) -> None:
        mount("-o", "remount,bind,rw", self.folder)

    def vanish(self) -> None:
        """Simulates a lost server: the folder is empty, but open files stay readable."""
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def come_back(self) -> None:
        """Restores the disk's content and hides files written to the folder meanwhile."""
        mount("--bind", self._store, self.folder)

    def close(self) -> None:
        for folder in (self.folder, self._store):
            subprocess.run(["umount", "--lazy", folder], check=False, capture_output=True)


def mount(*how: str | Path) -> None:
    done = subprocess.run(["mount", *how], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path, 96)
    yield made
    made.close()


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("leave", [0, 1 << 14])
def test_a_write_on_a_full_disk(name, leave, disk, tmp_path):
    """The write fails with a one-line error and keeps the old state; it succeeds once there is space."""
    write = WRITES[name]
    write.prepare(disk.folder)
    old = write.seen(disk.folder)
    disk.fill(leave)
    failed = False
    try:
        write.write(disk.folder)  # a small one may find room in the last page of a file
    except (OSError, JobError):
        failed = True
    seen = write.seen(disk.folder)
    disk.free()
    write.write(disk.folder)
    new = write.seen(disk.folder)
    assert all(value in (old[part], new[part]) for part, value in seen.items())
    assert failed or seen == new
    assert not list(disk.folder.rglob(".*.part*"))


def test_a_write_on_a_read_only_disk(disk, capsys):
    WRITES["split"].prepare(disk.folder)
    disk.read_only()
    assert main(["split", str(disk.folder / "features"), str(disk.folder / "dataset")]) == 1
    line = capsys.readouterr().err
    assert "Read-only file system" in line
    assert len(line.splitlines()) == 1
    disk.writable()
    assert main(["split", str(disk.folder / "features"), str(disk.folder / "dataset")]) == 0


def tune(dataset, run, *flags):
    command = [sys.executable, "-m", "resvae_ray", "tune", str(dataset), str(run), *map(str, flags)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_epochs(run, count, process):
    while process.poll() is None:
        with suppress(OSError):
            if len((run / "epochs.jsonl").read_text().splitlines()) >= count:
                return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The outcome of an uninterrupted search; the first test fills it in."""
    return {}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("harm", "mend", "told"),
    [
        (Disk.fill, Disk.free, "No space left on device"),
        # A worker sees it first, or the search itself.
        (Disk.vanish, Disk.come_back, "cannot be seen on|No such file or directory"),
    ],
)
def test_a_search_on_a_disk_that_fails(harm, mend, told, disk, make_dataset, tmp_path, undisturbed):
    dataset = make_dataset(64, 16)
    (tmp_path / "search.toml").write_text(config_to_toml(CONFIG))
    run, process = disk.folder / "run", None
    process = tune(dataset, run, "--config", tmp_path / "search.toml")
    wait_for_epochs(run, 50, process)
    harm(disk)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert re.search(told, err.splitlines()[-1]), err
    assert "Traceback" not in err
    assert "Ray gave up" not in err
    assert f"tune {dataset} {run} --resume" in err.splitlines()[-1], err
    mend(disk)
    status = Run.open(run).status()
    assert 1 <= status["counts"]["complete"] < TRIALS
    assert status["counts"]["failed"] == 0
    before = [row for row in outcome(run) if row[1] == "complete"]
    assert all(len(epochs) == CONFIG.training.epochs for *_, epochs in before)
    process = tune(dataset, run, "--resume")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert outcome(run)[: len(before)] == before
    assert Run.open(run).status()["counts"]["complete"] == TRIALS
    assert (run / "model" / "model.safetensors").exists()
    assert undisturbed.setdefault("outcome", outcome(run)) == outcome(run)


def test_too_little_space_fails_before_the_search(disk, make_dataset, tmp_path, capsys):
    dataset = make_dataset(64, 1280)
    assert main(["tune", str(dataset), str(disk.folder / "run")]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "run: the search may take" in line
    assert not (disk.folder / "run").exists()
