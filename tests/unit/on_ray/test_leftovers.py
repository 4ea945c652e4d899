"""A driver removes the leftovers of killed drivers, but no files of a living driver or of others."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from resvae_ray.errors import JobError
from resvae_ray.on_ray.leftovers import (
    LOCK,
    PREFIX,
    Driver,
    choose_place,
    processes_in,
    remove_leftovers,
    session_folder,
)

DRIVER = """
import sys
from resvae_ray.on_ray.leftovers import session_folder
with session_folder() as folder:
    (folder / "session").mkdir()
    print(folder, flush=True)
    sys.stdin.read()
"""
WORKER = "import sys, time; log = open(sys.argv[1], sys.argv[2]); print('ready', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def place(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def start():
    begun = []

    def begin(code, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process, process.stdout.readline().strip()

    yield begin
    for process in begun:
        process.kill()
        if not process.stdin.closed:
            process.stdin.close()
        process.stdout.close()
        process.wait()


def test_a_folder_of_the_user_alone_that_is_gone_afterwards(place, start):
    with session_folder() as folder:
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
        worker, _ = start(WORKER, folder / "log", "a")
        stranger, _ = start(WORKER, place / "log", "a")
        reader, _ = start(WORKER, folder / "log", "r")
        assert processes_in(folder) == [worker.pid]
    assert not folder.exists()
    assert worker.wait(5) == -9
    assert stranger.poll() is None
    assert reader.poll() is None


def test_after_an_error(place):
    with pytest.raises(ZeroDivisionError), session_folder():
        1 / 0  # noqa: B018
    assert not list(place.iterdir())


def test_the_next_driver_removes_leftovers_of_a_killed_one(place, start):
    driver, folder = start(DRIVER)
    worker, _ = start(WORKER, f"{folder}/session/log", "a")
    driver.kill()
    driver.wait()
    assert worker.poll() is None
    with session_folder() as mine:
        assert list(place.iterdir()) == [mine]
    assert worker.wait(5) == -9


def test_a_living_driver_keeps_its_folder(place, start):
    driver, folder = start(DRIVER)
    worker, _ = start(WORKER, f"{folder}/session/log", "a")
    remove_leftovers()
    assert sorted(path.name for path in place.glob("*/*")) == [LOCK, "session"]
    assert worker.poll() is None
    driver.stdin.close()
    driver.wait(10)
    assert not list(place.iterdir())


def test_files_of_others_are_left_alone(place):
    (place / "resvae-mine").mkdir()
    (place / "resvae-mine" / "thesis.doc").touch()
    (place / "resvae-file").touch()
    remove_leftovers()
    assert len(list(place.rglob("*"))) == 3


def test_a_link_is_not_followed(place, start):
    (place / "kept").mkdir()
    (place / "kept" / "thesis.doc").touch()
    with session_folder() as folder:
        (folder / "session_latest").symlink_to(place / "kept")
    assert (place / "kept" / "thesis.doc").exists()


def test_a_path_that_is_too_long_is_not_used(tmp_path, monkeypatch):
    """Ray would not start: a socket's path has at most 107 bytes."""
    (tmp_path / ("n" * 30)).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("n" * 30)))
    with session_folder() as folder:
        assert folder.parent == Path("/tmp")


TOGETHER = """
import os, sys, time
from resvae_ray.on_ray.leftovers import session_folder

def child(start, inside, leave):
    for pipe in (start, inside, leave):
        os.close(pipe[0] if pipe is inside else pipe[1])
    os.read(start[0], 1)
    with session_folder():
        os.write(inside[1], b"x")
        os.close(inside[1])
        os.read(leave[0], 1)

fates = []
for _ in range(int(sys.argv[1])):
    start, inside, leave = os.pipe(), os.pipe(), os.pipe()
    children = []
    for _ in range(int(sys.argv[2])):
        if not (pid := os.fork()):
            code = 1
            try:
                child(start, inside, leave)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    os.close(inside[1])
    os.close(start[1])  # all at the same moment
    while os.read(inside[0], 4096):
        pass  # until all are in, or dead
    killed = children[:: int(sys.argv[3])]
    for pid in killed:
        os.kill(pid, 9)
    os.close(leave[1])
    for pipe in (start, inside, leave):
        os.close(pipe[0])
    codes = {pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children}
    fates += [code for pid, code in codes.items() if pid not in killed]
print(sorted(set(fates)), len(fates))
"""


@pytest.mark.timeout(200)
def test_forty_drivers_that_start_together_all_live(place):
    """Every tenth driver is killed at the end of its round, so the next ones find leftovers."""
    done = subprocess.run([sys.executable, "-c", TOGETHER, "10", "40", "10"], capture_output=True, text=True)
    assert done.stdout == "[0] 360\n", done.stderr


def test_a_folder_gets_its_name_when_its_lock_is_held(place, monkeypatch):
    """Otherwise a driver that checks for leftovers between the two steps would consider this one dead and kill it."""
    seen = []
    flock = fcntl.flock

    def looked_at(lock, how):
        if not seen:
            seen.append([path.name for path in place.glob(f"{PREFIX}*")])
            remove_leftovers()
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", looked_at)
    with session_folder() as folder:
        assert seen == [[]]
        assert folder.is_dir()
        assert json.loads((folder / LOCK).read_text())["process"] == os.getpid()


def left_by(place, driver, name="resvae-left"):
    """A folder as `driver` left it, without the lock held."""
    folder = place / name
    folder.mkdir()
    (folder / LOCK).write_text(json.dumps(asdict(driver)))
    return folder


DEAD = replace(Driver.here(), started=1)  # a process that had this one's number before


@pytest.mark.parametrize(
    "driver",
    [
        replace(DEAD, host="another-host"),
        replace(DEAD, boot="3f0e"),
        replace(DEAD, namespace="pid:[1]"),
        Driver.here(),  # alive, and on a file system without locks
    ],
)
def test_nothing_is_removed_unless_its_driver_is_proven_dead(place, start, driver):
    """Two hosts may share TMPDIR, and some network file systems hide the locks of the other host."""
    folder = left_by(place, driver)
    worker, _ = start(WORKER, folder / "log", "a")
    remove_leftovers()
    assert folder.exists()
    assert worker.poll() is None


def test_leftovers_of_a_dead_driver_are_removed(place, start):
    folder = left_by(place, DEAD)
    worker, _ = start(WORKER, folder / "log", "a")
    remove_leftovers()
    assert not folder.exists()
    assert worker.wait(5) == -9


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"process": 1}'])
def test_a_lock_that_names_no_driver_is_left_alone(place, text):
    left_by(place, DEAD)
    (place / "resvae-left" / LOCK).write_text(text)
    remove_leftovers()
    assert (place / "resvae-left" / LOCK).exists()


def test_a_folder_that_never_got_its_name_goes_after_an_hour(place):
    for name, age_s in ((".resvae-old", 4000), (".resvae-new", 0)):
        (place / name).mkdir()
        (place / name / LOCK).touch()
        os.utime(place / name, (time.time() - age_s,) * 2)
    remove_leftovers()
    assert [path.name for path in place.iterdir()] == [".resvae-new"]


class TestPlace:
    """The first folder that can hold Ray's files is taken."""

    @pytest.fixture(autouse=True)
    def no_variable(self, monkeypatch):
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.delenv("TMPDIR", raising=False)

    @pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
    def test_a_folder_that_is_missing(self, monkeypatch, variable):
        monkeypatch.setenv(variable, "/scratch/no-such-job")
        assert choose_place() == Path("/tmp")

    def test_a_relative_folder(self, place, monkeypatch):
        (place / "t").mkdir()
        monkeypatch.chdir(place)
        monkeypatch.setenv("TMPDIR", "t")
        assert choose_place() == place / "t"

    def test_a_full_disk(self, place, monkeypatch):
        monkeypatch.setenv("TMPDIR", str(place))
        usage = shutil.disk_usage
        full = shutil._ntuple_diskusage(100, 99, 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: full if Path(path) == place else usage(path))
        assert choose_place() == Path("/tmp")

    def test_a_folder_to_which_nothing_can_be_written(self, place, monkeypatch):
        monkeypatch.setenv("TMPDIR", "/proc")
        assert choose_place() == Path("/tmp")

    def test_none_at_all(self, place, monkeypatch):
        monkeypatch.setenv("RAY_TMPDIR", "/no-such-job")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1 << 20))
        with pytest.raises(JobError) as caught:
            choose_place()
        for part in ("RAY_TMPDIR=/no-such-job", "/tmp has 1 MB free", "/var/tmp", "set TMPDIR to a folder with 64 MB"):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_nothing_stays_in_the_place(self, place, monkeypatch):
        monkeypatch.setenv("TMPDIR", str(place))
        choose_place()
        assert not list(place.iterdir())
