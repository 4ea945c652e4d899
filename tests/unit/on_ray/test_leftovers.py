"""What a killed driver leaves is removed by the next; what belongs to a living one, or to others, is left alone."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from resvae_ray.on_ray.leftovers import LOCK, processes_in, remove_leftovers, session_folder

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


def test_what_a_killed_driver_left_goes_with_the_next_one(place, start):
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


def test_what_others_put_there_is_not_touched(place):
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


def test_a_place_with_a_long_name_is_not_taken(tmp_path, monkeypatch):
    """Ray would not start: a socket's path has at most 107 bytes."""
    (tmp_path / ("n" * 30)).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("n" * 30)))
    with session_folder() as folder:
        assert folder.parent == Path("/tmp")
