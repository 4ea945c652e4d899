"""The lock of a RUN in a bucket: one process works there, whatever other processes, networks and clocks do."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from s3_servers import ignoring, losing_answers, one_at_a_time, refusing, served

from resvae_ray import names
from resvae_ray.cli import main
from resvae_ray.errors import JobError, UsageError
from resvae_ray.files import conditional_object
from resvae_ray.files.conditional_object import ConditionalObject
from resvae_ray.files.place import BucketPlace, place
from resvae_ray.on_ray.leftovers import Driver
from resvae_ray.search.run import lock as lock_module
from resvae_ray.search.run.lock import worker_in_bucket

OTHER = b"process 2 on elsewhere y\n"
HOLDER = """
import sys, time
from resvae_ray.files.place import BucketPlace, place
from resvae_ray.search.run.lock import hold_in_bucket
with hold_in_bucket(place(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lock(bucket):
    return place(f"{bucket}/run") / names.LOCK_FILE


@contextmanager
def hold_in_bucket(lock):
    with lock_module.hold_in_bucket(lock, lambda other: pytest.fail(f"lost to {other}")):
        yield


def gone_process():
    process = subprocess.Popen(["true"])
    process.wait()
    return f"process {process.pid} on {socket.gethostname()} x\n".encode()


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


class TestHolding:
    def test_the_holder_is_known_while_it_works(self, lock):
        assert worker_in_bucket(lock) is None
        with hold_in_bucket(lock):
            found = worker_in_bucket(lock)
            assert (found.who, found.alive) == (f"process {os.getpid()} on {socket.gethostname()}", True)
            with pytest.raises(UsageError, match=r"a search is running there \(process"), hold_in_bucket(lock):
                pass
            assert worker_in_bucket(lock).alive, "the second process has touched nothing"
        assert worker_in_bucket(lock) is None
        assert not lock.exists()

    def test_it_does_not_wait(self, lock, monkeypatch):
        monkeypatch.setattr(lock_module.time, "sleep", lambda _: pytest.fail("it waits"))
        with hold_in_bucket(lock):
            pass

    def test_signs_of_life_renew_the_object(self, lock, monkeypatch):
        monkeypatch.setattr(lock_module, "BEAT_S", 0.01)
        with hold_in_bucket(lock):
            seen = lock.read_bytes()
            wait_until(lambda: lock.read_bytes() != seen)

    def test_an_object_that_was_removed_comes_back(self, lock, monkeypatch):
        monkeypatch.setattr(lock_module, "BEAT_S", 0.01)
        with hold_in_bucket(lock):
            lock.unlink()
            wait_until(lambda: worker_in_bucket(lock))

    def test_boto3_is_asked_for(self, lock, monkeypatch):
        monkeypatch.setattr("resvae_ray.extras.find_spec", lambda name: None)
        with pytest.raises(UsageError, match=r'boto3 is not installed; .*"\.\[s3\]"'), hold_in_bucket(lock):
            pass

    def test_tune_asks_for_it_before_anything_begins(self, bucket, make_dataset, monkeypatch, capsys):
        monkeypatch.setattr("resvae_ray.extras.find_spec", lambda name: None)
        monkeypatch.setattr("resvae_ray.search.tune.ray_session", lambda address: pytest.fail("Ray was started"))
        assert main(["tune", str(make_dataset(60, 6)), f"{bucket}/run"]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert "boto3 is not installed" in err
        assert not place(f"{bucket}/run").exists()

    def test_only_s3_can_be_locked(self):
        with pytest.raises(UsageError, match="^gs://b/run/run.lock: only s3:// has the conditional writes"):
            ConditionalObject(BucketPlace("gs://b/run/run.lock"))


class TestTwoAtOnce:
    def test_one_of_many_holds_it(self, lock, monkeypatch):
        together, inside, refused = threading.Barrier(4), [], []

        def begin(_):
            together.wait()
            try:
                with hold_in_bucket(lock):
                    inside.append(1)
                    time.sleep(1.0)
                    inside.append(-1)
            except UsageError as error:
                refused.append(str(error))

        with served(one_at_a_time) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server)
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(begin, range(4)))
        assert inside == [1, -1]
        assert len(refused) == 3

    def test_a_process_that_begins_between_the_look_and_the_write_is_not_overwritten(self, lock, monkeypatch):
        create = ConditionalObject.create

        def slowly(self, content):
            lock.write_bytes(OTHER)
            return create(self, content)

        monkeypatch.setattr(ConditionalObject, "create", slowly)
        with (
            pytest.raises(UsageError, match=r"another search \(process 2 on elsewhere\) has begun there at the same"),
            hold_in_bucket(lock),
        ):
            pass
        assert lock.read_bytes() == OTHER

    def test_only_one_of_two_takeovers_holds_the_lock(self, lock, monkeypatch):
        lock.write_bytes(gone_process())
        replace = ConditionalObject.replace

        def slowly(self, content, etag):
            lock.write_bytes(OTHER)
            return replace(self, content, etag)

        monkeypatch.setattr(ConditionalObject, "replace", slowly)
        with pytest.raises(UsageError, match=r"another search \(process 2 on elsewhere\)"), hold_in_bucket(lock):
            pass
        assert lock.read_bytes() == OTHER


class TestDeadHolder:
    def test_a_killed_process_of_this_machine_is_known_to_be_dead_at_once(self, lock):
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"a search is running there .process {holder.pid} "), hold_in_bucket(lock):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        assert worker_in_bucket(lock).alive is False
        with hold_in_bucket(lock):
            assert worker_in_bucket(lock).alive

    @pytest.mark.parametrize(("silence", "alive"), [(60.0, True), (0.0, False)])
    def test_one_of_another_machine_after_a_silence(self, lock, silence, alive, monkeypatch):
        monkeypatch.setattr(lock_module, "SILENCE_S", silence)
        lock.write_bytes(b"process 1 on elsewhere x\n")
        assert worker_in_bucket(lock).alive is alive
        if alive:
            with pytest.raises(UsageError, match="process 1 on elsewhere, last sign of life"), hold_in_bucket(lock):
                pass
        else:
            with hold_in_bucket(lock):
                assert lock.read_text().startswith(f"process {os.getpid()} on ")

    @pytest.mark.parametrize("other", [{"boot": "b00t"}, {"namespace": "pid:[1]"}])
    def test_a_machine_or_container_of_the_same_name_is_another_one(self, lock, other):
        here = replace(Driver.here(), process=2**22 + 1, **other)  # no process here has this number
        about = f"{here.boot}/{here.namespace}/{here.started}/x-0"
        lock.write_bytes(f"process {here.process} on {here.host} {about}\n".encode())
        assert worker_in_bucket(lock).alive
        with pytest.raises(UsageError, match="a search is running there"), hold_in_bucket(lock):
            pass

    def test_a_killed_process_whose_number_another_one_has_is_known_to_be_dead(self, lock):
        here = Driver.here()
        about = f"{here.boot}/{here.namespace}/{here.started - 1}/x-0"
        lock.write_bytes(f"process {here.process} on {here.host} {about}\n".encode())
        with hold_in_bucket(lock):
            pass

    def test_a_sign_of_life_at_the_last_moment_counts(self, lock, monkeypatch):
        """The heartbeat arrives between the read and the write, as from a machine that wakes up."""
        monkeypatch.setattr(lock_module, "SILENCE_S", 0.0)
        alive, replace = b"process 1 on elsewhere x-1\n", ConditionalObject.replace
        lock.write_bytes(b"process 1 on elsewhere x-0\n")

        def slowly(self, content, etag):
            lock.write_bytes(alive)
            return replace(self, content, etag)

        monkeypatch.setattr(ConditionalObject, "replace", slowly)
        with pytest.raises(UsageError, match=r"\(process 1 on elsewhere\).*or is alive"), hold_in_bucket(lock):
            pass
        assert lock.read_bytes() == alive


class TestTakeover:
    """The old holder was silent for long, like a suspended laptop, and wakes up."""

    def test_the_old_holder_learns_the_new_one_and_leaves_the_lock_alone(self, lock, monkeypatch):
        monkeypatch.setattr(lock_module, "BEAT_S", 0.2)
        heard = []
        with lock_module.hold_in_bucket(lock, heard.append):
            lock.write_bytes(OTHER)
            wait_until(lambda: heard)
        assert (heard, lock.read_bytes()) == (["process 2 on elsewhere"], OTHER)

    def test_it_never_overwrites_the_new_holder(self, lock, monkeypatch):
        """This holds even if it was suspended right before its heartbeat."""
        monkeypatch.setattr(lock_module, "BEAT_S", 0.01)
        replace, heard = ConditionalObject.replace, []

        def suspended(self, content, etag):
            if threading.current_thread() is not threading.main_thread() and not heard:
                lock.write_bytes(OTHER)
            return replace(self, content, etag)

        with lock_module.hold_in_bucket(lock, heard.append):
            monkeypatch.setattr(ConditionalObject, "replace", suspended)
            wait_until(lambda: heard)
        assert (heard, lock.read_bytes()) == (["process 2 on elsewhere"], OTHER)

    def test_it_stays_out_if_the_new_holder_has_already_ended(self, lock, monkeypatch):
        monkeypatch.setattr(lock_module, "BEAT_S", 0.2)
        monkeypatch.setattr(lock_module, "SILENCE_S", 0.1)
        heard = []
        with lock_module.hold_in_bucket(lock, heard.append):
            lock.unlink()  # as the new holder does when it ends
            wait_until(lambda: heard)
        assert (heard, lock.exists()) == (["another process"], False)

    def test_it_learns_of_it_before_it_writes_again(self, lock, monkeypatch):
        heard = []
        with lock_module.hold_in_bucket(lock, heard.append) as confirm:
            lock.write_bytes(OTHER)
            confirm()
            assert heard == [], "the last sign of life is recent, so no other process can have taken over"
            monkeypatch.setattr(lock_module, "SILENCE_S", 0.0)
            confirm()
            confirm()
        assert (heard, lock.read_bytes()) == (["process 2 on elsewhere"], OTHER)


class TestClocks:
    """The server's clock determines the age of the object."""

    @pytest.fixture
    def shift(self, monkeypatch):
        """Moves this process's clock for the modules of the lock; the server in this process keeps its own."""

        def shift(seconds):
            shifted = SimpleNamespace(**vars(time) | {"time": lambda: time.time() + seconds})
            monkeypatch.setattr(lock_module, "time", shifted)
            now = datetime.now
            moved = SimpleNamespace(now=lambda zone: now(zone) + timedelta(seconds=seconds))
            monkeypatch.setattr(conditional_object, "datetime", moved)

        return shift

    def test_a_fast_clock_does_not_consider_a_live_search_dead(self, lock, shift):
        lock.write_bytes(b"process 1 on elsewhere x\n")
        shift(3600.0)
        with pytest.raises(UsageError, match="process 1 on elsewhere, last sign of life"), hold_in_bucket(lock):
            pass

    def test_a_slow_clock_does_not_consider_a_dead_search_alive(self, lock, shift, monkeypatch):
        monkeypatch.setattr(lock_module, "SILENCE_S", 0.5)
        lock.write_bytes(b"process 1 on elsewhere x\n")
        shift(-3600.0)
        time.sleep(2.0)  # the server's times are whole seconds
        with hold_in_bucket(lock):
            pass


class TestLostConnection:
    def test_a_write_whose_answer_was_lost_is_its_own(self, lock, monkeypatch):
        lost = []
        with served(losing_answers(lost)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server)
            with hold_in_bucket(lock):
                assert worker_in_bucket(lock).alive
        assert len(lost) == 1

    def test_a_sign_of_life_whose_answer_was_lost_is_its_own(self, lock, monkeypatch):
        monkeypatch.setattr(lock_module, "BEAT_S", 0.01)
        replace, calls = ConditionalObject.replace, []

        def lose(self, content, etag):
            found = replace(self, content, etag)
            calls.append(found)
            if len(calls) == 1:
                raise JobError("cannot be reached")
            return found

        with hold_in_bucket(lock):
            monkeypatch.setattr(ConditionalObject, "replace", lose)
            wait_until(lambda: len(calls) > 3)
        assert calls[0], "the first one was written"
        assert calls[1] is None, "so that the second one found another ETag"
        assert calls[2], "and has read it"

    def test_a_temporary_server_outage_does_not_lose_the_lock(self, lock, monkeypatch):
        monkeypatch.setattr(lock_module, "BEAT_S", 0.01)
        replace, failed = ConditionalObject.replace, []

        def away(self, content, etag):
            if len(failed) < 3:
                failed.append(1)
                raise JobError("cannot be reached")
            return replace(self, content, etag)

        with hold_in_bucket(lock):
            monkeypatch.setattr(ConditionalObject, "replace", away)
            seen = lock.read_bytes()
            wait_until(lambda: lock.read_bytes() != seen)
        assert not lock.exists()


class TestServersWithoutConditionalWrites:
    @pytest.mark.parametrize(
        ("around", "found"),
        [
            (ignoring("HTTP_IF_NONE_MATCH"), "If-None-Match was ignored"),
            (ignoring("HTTP_IF_MATCH"), "If-Match was ignored"),
            (ignoring("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"), "If-None-Match was ignored"),
            (refusing("501 Not Implemented", "NotImplemented"), "501 NotImplemented"),
            (refusing("400 Bad Request", "InvalidArgument"), "400 InvalidArgument"),
        ],
    )
    @pytest.mark.parametrize("left", [False, True], ids=["new", "left by a killed process"])
    def test_they_are_named_in_a_line(self, lock, around, found, left, monkeypatch):
        if left:
            lock.write_bytes(gone_process())
        with served(around) as server, monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", server)
            with (
                pytest.raises(
                    UsageError,
                    match=rf"^{lock}: {server} has no conditional writes \({found}\), without which two searches could",
                ),
                hold_in_bucket(lock),
            ):
                pass
        worker = worker_in_bucket(lock)
        assert worker is None or not worker.alive, "nobody holds it"

    def test_one_without_conditional_deletes_is_enough(self, lock, monkeypatch):
        def around(app):
            refuse = refusing("501 Not Implemented", "NotImplemented")(app)
            return lambda environ, start: (refuse if environ["REQUEST_METHOD"] == "DELETE" else app)(environ, start)

        with served(around) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server)
            with hold_in_bucket(lock):
                pass
            assert not lock.exists()
