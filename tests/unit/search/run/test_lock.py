import os
import time

import pytest

from resvae_ray.errors import UsageError
from resvae_ray.search.run import lock
from resvae_ray.search.run.lock import hold, worker


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.lock"


def leave(path, who, seconds_ago):
    """Writes the lock left by a killed process or by one on another machine."""
    path.write_text(f"{who}\n")
    os.utime(path, (time.time() - seconds_ago,) * 2)


def without_locks(monkeypatch):
    def no_locks(file, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)


def test_the_lock_holder_is_known_while_it_runs(path):
    assert worker(path) is None
    with hold(path):
        assert worker(path).alive
        assert worker(path).who.startswith(f"process {os.getpid()} on ")
        with pytest.raises(UsageError, match=rf"a search is running in it \(process {os.getpid()} on "), hold(path):
            pass
    assert worker(path) is None, "it ended in good order"


def test_a_killed_process_of_this_machine_is_known_to_be_dead_at_once(path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    leave(path, "process 7 on here", 3)
    found = worker(path)
    assert (found.who, found.alive) == ("process 7 on here", False)
    assert 3 <= found.seen_s < 10


@pytest.mark.parametrize(("seconds_ago", "alive"), [(20, True), (lock.SILENCE_S + 5, False)])
def test_a_silent_process_of_another_machine_is_considered_dead(path, seconds_ago, alive):
    """Network folders may not show its file lock here."""
    leave(path, "process 7 on elsewhere", seconds_ago)
    assert worker(path).alive is alive


@pytest.mark.parametrize(("seconds_ago", "alive"), [(20, True), (lock.SILENCE_S + 5, False)])
def test_without_file_locks_heartbeats_count_too(path, seconds_ago, alive, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    without_locks(monkeypatch)
    leave(path, "process 7 on here", seconds_ago)
    assert worker(path).alive is alive


def test_without_file_locks_a_search_runs_with_a_warning(path, monkeypatch, caplog):
    without_locks(monkeypatch)
    with hold(path):
        assert "no file locks here" in caplog.text
        assert worker(path).alive
    assert worker(path) is None


def test_the_holder_gives_signs_of_life(path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    with hold(path):
        os.utime(path, (1.0, 1.0))
        for _ in range(200):
            if worker(path).seen_s < 100:
                return
            time.sleep(0.01)
        raise AssertionError("none came")


def test_a_concurrent_reader_does_not_keep_a_search_from_starting(path, monkeypatch):
    """`status` holds a shared lock while it reads."""
    monkeypatch.setattr(lock, "TRY_S", 0.0)
    calls = []

    def busy_at_first(file, operation):
        calls.append(operation)
        if len(calls) < 3:
            raise BlockingIOError

    monkeypatch.setattr("fcntl.flock", busy_at_first)
    with hold(path):
        assert len(calls) == 3
