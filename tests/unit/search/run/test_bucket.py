"""A RUN in a bucket without a search: copies, locks, and where a training keeps its state."""

import json
import os
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
import torch

from resvae_ray import names
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.files.place import Remote, download, place, upload
from resvae_ray.model.tensor_file import write_tensors
from resvae_ray.search.run.bucket import bucket_lock as lock_module
from resvae_ray.search.run.bucket import copy as copies
from resvae_ray.search.run.bucket.bucket_lock import worker_in_bucket
from resvae_ray.search.run.bucket.checkpoints import kept_in
from resvae_ray.search.run.bucket.copy import BucketCopy, working_copy


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RESVAE_RAY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(lock_module, "SETTLE_S", 0.4)
    monkeypatch.setattr(lock_module, "WATCH_S", 0.1)


@pytest.fixture
def run(bucket):
    return place(f"{bucket}/run")


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


RUN_FILE = json.dumps({"study": "s", "sessions": [1]})
FILES = {"run.json": RUN_FILE, "study.journal": "a\n", "epochs.jsonl": "e\n", "tune/x/events": "t", "tune/.hidden": ""}


class TestCopies:
    def test_only_what_changed_is_sent(self, run, tmp_path, monkeypatch):
        copy = BucketCopy(run, tmp_path / "copy")
        write(copy.folder, FILES | {"run.lock": "me", "trials/0000/best-0001.safetensors": "w", "report/r": "x"})
        copy.send()
        assert set(run.files()) == set(FILES) - {"tune/.hidden"} | {"report/r"}
        sent = []
        original = BucketCopy._send
        monkeypatch.setattr(BucketCopy, "_send", lambda self, c: original(self, [sent.append(n) or n for n in c]))
        with (copy.folder / "study.journal").open("a") as file:
            file.write("b\n")
        copy.send()
        assert sent == ["study.journal"]
        assert (run / "study.journal").read_text() == "a\nb\n"

    def test_the_journal_comes_last(self, run, tmp_path, monkeypatch):
        copy, sent = BucketCopy(run, tmp_path / "copy"), []
        write(copy.folder, FILES)
        monkeypatch.setattr("resvae_ray.search.run.bucket.copy.upload", lambda source, target: sent.append(target.name))
        copy.send()
        assert sent[-1] == "study.journal"
        assert "run.json" in sent

    def test_at_no_moment_is_there_a_model_of_old_and_new_files(self, run, tmp_path, monkeypatch):
        copy, seen = BucketCopy(run, tmp_path / "copy"), []
        files = {"model/config.json": "old", "model/model.safetensors": "old", "model/README.md": "old"}
        write(copy.folder, files)
        copy.send()
        original = upload

        def look(source, target):
            seen.append({name: (run / name).read_text() for name in files if (run / name).exists()})
            original(source, target)

        monkeypatch.setattr("resvae_ray.search.run.bucket.copy.upload", look)
        write(copy.folder, {name: "newer" for name in files if not name.endswith(".md")})
        copy.send()
        assert [there for there in seen if "model/config.json" in there] == []
        assert (run / "model/config.json").read_text() == (run / "model/model.safetensors").read_text() == "newer"

    def test_what_ray_removes_meanwhile_is_passed_over(self, run, tmp_path, monkeypatch):
        copy = BucketCopy(run, tmp_path / "copy")
        write(copy.folder, FILES)
        original = BucketCopy._send

        def send(self, changed):
            (copy.folder / "tune/x/events").unlink(missing_ok=True)
            original(self, changed)

        monkeypatch.setattr(BucketCopy, "_send", send)
        copy.send()
        assert set(run.files()) == set(FILES) - {"tune/.hidden", "tune/x/events"}

    def test_what_others_put_there_stays_but_old_boards_go(self, run, tmp_path):
        copy = BucketCopy(run, tmp_path / "copy")
        write(copy.folder, FILES)
        copy.send()
        (run / "report/report.html").write_bytes(b"of another machine")
        (copy.folder / "tune/x/events").unlink()
        copy.send()
        assert "report/report.html" in run.files()
        assert "tune/x/events" not in run.files()

    def test_weights_are_fetched_when_asked_for_and_replaced_ones_go(self, run, tmp_path):
        for name in ("run.json", "trials/0000/best-0001.safetensors", "trials/0000/resume.safetensors"):
            (run / name).write_bytes(b"1")
        copy = BucketCopy(run, tmp_path / "copy")
        copy.fetch()
        assert [file.name for file in copy.folder.rglob("*.*")] == ["run.json"]
        copy.fetch_weights()
        folder = copy.folder / "trials" / "0000"
        assert os.listdir(folder) == ["best-0001.safetensors"]
        (run / "trials/0000/best-0003.safetensors").write_bytes(b"3")
        (run / "trials/0000/best-0001.safetensors").unlink()
        copy.fetch_weights()
        assert os.listdir(folder) == ["best-0003.safetensors"]

    def test_a_search_goes_on_in_its_own_copy_which_may_be_newer(self, run):
        copy = working_copy(run)
        write(copy.folder, FILES)
        copy.send()
        write(copy.folder, {"study.journal": "a\nnot sent before the kill\n"})
        again = working_copy(run)
        again.take_up()
        assert (again.folder / "study.journal").read_text() == "a\nnot sent before the kill\n"

    def test_but_not_in_one_that_another_machine_has_overtaken(self, run):
        copy = working_copy(run)
        write(copy.folder, FILES)
        copy.send()
        (run / "run.json").write_bytes(json.dumps({"study": "s", "sessions": [1, 2]}).encode())
        (run / "study.journal").write_bytes(b"a\nof the other machine\n")
        taken_up = working_copy(run)
        taken_up.take_up()
        assert (taken_up.folder / "study.journal").read_text() == "a\nof the other machine\n"
        assert not (taken_up.folder / "tune" / ".hidden").exists()

    def test_each_server_has_its_own(self, run, monkeypatch):
        here = working_copy(run).folder
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT_URL"])
        assert working_copy(run).folder == here, "the same server"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://other:9000")
        assert working_copy(run).folder != here

    def test_where_they_are_does_not_depend_on_the_working_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("RESVAE_RAY_HOME", "cache")
        assert working_copy(Remote("s3://b/run")).folder.is_relative_to(tmp_path / "cache" / "runs")

    def test_what_came_further_than_the_record_is_forgotten(self, run, tmp_path):
        """Or epochs would be missing in it, or weights be those of a proposal that nobody knows."""
        for number, epoch in enumerate((4, 5, 6, 7, None, None, 1)):
            folder = run / f"trials/{number:04d}"
            (folder / "best-0001.safetensors").write_bytes(b"w")
            if epoch:
                write_tensors(tmp_path / "state", {"x": torch.zeros(1)}, {"epoch": epoch})
                upload(tmp_path / "state", folder / "resume.safetensors")
        known = {"0": 4, "1": 4, "2": 4, "3": None, "4": None, "5": 3}
        BucketCopy(run, tmp_path / "copy").forget_unknown({f"trials/000{key}": epoch for key, epoch in known.items()})
        left = {name.split("/")[1] for name in run.files()}
        assert left == {"0000", "0001", "0003", "0004"}, "2 is ahead, 5 has no state, 6 is not in the record"


class TestFetches:
    """A copy is believed once it is whole; weights are removed by what it says."""

    @pytest.fixture
    def sent(self, run, tmp_path):
        copy = BucketCopy(run, tmp_path / "elsewhere")
        write(copy.folder, FILES)
        copy.send()
        (run / "trials/0000/best-0001.safetensors").write_bytes(b"w")
        return run

    @pytest.mark.parametrize("broken", [name for name in FILES if not name.startswith("tune/.")])
    def test_one_that_breaks_off_is_not_believed_by_the_next(self, sent, broken, monkeypatch):
        def fail(source, target):
            if str(source).endswith(broken):
                raise JobError(f"{source}: cannot be reached: timeout")
            download(source, target)

        with monkeypatch.context() as patch, pytest.raises(JobError, match="timeout"):
            patch.setattr(copies, "download", fail)
            working_copy(sent).take_up()
        again = working_copy(sent)
        again.take_up()
        assert (again.folder / "study.journal").read_text() == "a\n"
        assert (again.folder / "epochs.jsonl").read_text() == "e\n"

    def test_what_says_that_it_is_whole_comes_last(self, sent, monkeypatch):
        names_of, original = [], download
        monkeypatch.setattr(copies, "download", lambda s, t: names_of.append(s.name) or original(s, t))
        working_copy(sent).take_up()
        assert sorted(names_of) == ["epochs.jsonl", "events", "run.json", "study.journal"]
        assert names_of[-1] == "run.json"

    def test_files_that_never_come_are_told(self, sent, monkeypatch):
        def gone(source, target):
            if source.name == "study.journal":
                raise DataError(f"{source}: no such file")
            download(source, target)

        monkeypatch.setattr(copies, "download", gone)
        copy = working_copy(sent)
        with pytest.raises(JobError, match="run: its files change while they are fetched; try again"):
            copy.take_up()
        assert not (copy.folder / "run.json").exists()

    @pytest.mark.parametrize("lost", ["study.journal", "epochs.jsonl"])
    def test_a_copy_without_its_record_removes_nothing(self, sent, lost):
        copy = working_copy(sent)
        copy.take_up()
        (copy.folder / lost).unlink()
        with pytest.raises(DataError, match=f"{copy.folder}: has no {lost}, which is in {sent}"):
            copy.forget_unknown({})
        assert "trials/0000/best-0001.safetensors" in sent.files()
        again = working_copy(sent)
        again.take_up()
        assert (again.folder / lost).read_text() == FILES[lost], "it is fetched anew"


@contextmanager
def hold_in_bucket(lock):
    with lock_module.hold_in_bucket(lock, lambda other: pytest.fail(f"lost to {other}")):
        yield


class TestLock:
    def test_who_works_is_known_while_it_does(self, run):
        lock = run / names.LOCK_FILE
        assert worker_in_bucket(lock) is None
        with hold_in_bucket(lock):
            found = worker_in_bucket(lock)
            assert (found.who, found.alive) == (f"process {os.getpid()} on {socket.gethostname()}", True)
            with pytest.raises(UsageError, match=r"a search is running there \(process"), hold_in_bucket(lock):
                pass
            assert worker_in_bucket(lock).alive, "who was refused has touched nothing"
        assert worker_in_bucket(lock) is None

    def test_a_killed_process_of_this_machine_is_known_to_be_dead_at_once(self, run):
        killed = subprocess.Popen(["true"])
        killed.wait()
        lock = run / names.LOCK_FILE
        lock.write_bytes(f"process {killed.pid} on {socket.gethostname()} x\n".encode())
        assert worker_in_bucket(lock).alive is False
        with hold_in_bucket(lock):
            assert worker_in_bucket(lock).alive

    @pytest.mark.parametrize(("silence", "alive"), [(60.0, True), (0.0, False)])
    def test_one_of_another_machine_after_a_silence(self, run, silence, alive, monkeypatch):
        monkeypatch.setattr(lock_module, "SILENCE_S", silence)
        lock = run / names.LOCK_FILE
        lock.write_bytes(b"process 1 on elsewhere x\n")
        assert worker_in_bucket(lock).alive is alive
        if alive:
            with pytest.raises(UsageError, match="process 1 on elsewhere, last sign of life"), hold_in_bucket(lock):
                pass
        else:
            with hold_in_bucket(lock):
                pass

    def test_by_a_clock_that_is_ahead_nobody_is_taken_for_dead_who_gives_signs_of_life(self, run, monkeypatch):
        monkeypatch.setattr(lock_module, "WATCH_S", 2.5)  # the server's times are whole seconds
        lock, alive = run / names.LOCK_FILE, b"process 1 on elsewhere x\n"
        lock.write_bytes(alive)
        ended = threading.Event()

        def live():
            while not ended.wait(0.2):
                lock.write_bytes(alive)

        living = threading.Thread(target=live)
        living.start()
        clock = lock_module.time.time
        monkeypatch.setattr(lock_module.time, "time", lambda: clock() + 240.0)
        try:
            with (
                pytest.raises(
                    UsageError, match=r"process 1 on elsewhere\), which has just begun, or given a sign of life"
                ),
                hold_in_bucket(lock),
            ):
                pass
        finally:
            ended.set()
            living.join()
        assert lock.read_bytes() == alive

    def test_who_begins_while_a_dead_one_is_watched_is_not_overlooked(self, run, monkeypatch):
        monkeypatch.setattr(lock_module, "SILENCE_S", 0.0)
        lock, other = run / names.LOCK_FILE, b"process 2 on elsewhere y\n"
        lock.write_bytes(b"process 1 on elsewhere x\n")
        monkeypatch.setattr(lock_module.time, "sleep", lambda _: lock.write_bytes(other))
        with pytest.raises(UsageError, match="process 2 on elsewhere"), hold_in_bucket(lock):
            pass
        assert lock.read_bytes() == other

    def test_who_ends_in_good_order_while_it_is_watched_makes_room(self, run, monkeypatch):
        monkeypatch.setattr(lock_module, "SILENCE_S", 0.0)
        lock, sleep = run / names.LOCK_FILE, lock_module.time.sleep
        lock.write_bytes(b"process 1 on elsewhere x\n")

        def end(seconds):
            if seconds == lock_module.WATCH_S:
                lock.unlink()
            sleep(seconds)

        monkeypatch.setattr(lock_module.time, "sleep", end)
        with hold_in_bucket(lock):
            assert lock.read_text().startswith(f"process {os.getpid()} on ")

    def test_what_is_known_to_be_gone_is_not_watched(self, run, monkeypatch):
        monkeypatch.setattr(lock_module, "WATCH_S", 1000.0)
        killed = subprocess.Popen(["true"])
        killed.wait()
        (run / names.LOCK_FILE).write_bytes(f"process {killed.pid} on {socket.gethostname()} x\n".encode())
        with hold_in_bucket(run / names.LOCK_FILE):
            pass

    def test_of_two_that_begin_at_once_one_gives_up(self, run, monkeypatch):
        lock = run / names.LOCK_FILE
        monkeypatch.setattr(lock_module.time, "sleep", lambda _: lock.write_bytes(b"process 2 on elsewhere y\n"))
        with pytest.raises(UsageError, match="another search has begun there at the same moment"), hold_in_bucket(lock):
            pass
        assert lock.read_text() == "process 2 on elsewhere y\n", "the other's lock is left alone"

    def test_who_was_too_slow_to_be_seen_by_all_does_not_go_on(self, run, monkeypatch):
        lock, write = run / names.LOCK_FILE, Remote.write_bytes

        def slowly(self, content):
            lock_module.time.sleep(0.4)
            write(self, content)

        monkeypatch.setattr(Remote, "write_bytes", slowly)
        with pytest.raises(JobError, match=r"only within 0\.4 s is it sure that no other"), hold_in_bucket(lock):
            pass
        assert not lock.exists()

    def test_of_many_that_begin_at_once_at_most_one_holds_it(self, run, monkeypatch):
        monkeypatch.setattr(lock_module, "SETTLE_S", 0.5)
        lock, together, inside = run / names.LOCK_FILE, threading.Barrier(4), []

        def begin(_):
            together.wait()
            with suppress(UsageError, JobError), hold_in_bucket(lock):
                inside.append(1)
                lock_module.time.sleep(0.3)
                inside.append(-1)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(begin, range(4)))
        assert inside in ([1, -1], []), "one, and none only where the server was too slow"

    def test_who_was_taken_for_dead_stops_and_leaves_the_lock_alone(self, run, monkeypatch):
        monkeypatch.setattr(lock_module, "BEAT_S", 0.01)
        lock, other, told = run / names.LOCK_FILE, b"process 2 on elsewhere y\n", threading.Event()
        heard = []
        with lock_module.hold_in_bucket(lock, lambda who: heard.append(who) or told.set()):
            for _ in range(100):  # a sign of life may be on its way
                lock.write_bytes(other)
                if told.wait(0.1):
                    break
            else:
                raise AssertionError("it went on")
        assert (heard, lock.read_bytes()) == (["process 2 on elsewhere"], other)

    def test_who_was_stopped_while_it_gave_a_sign_of_life_is_not_sure_of_the_lock(self, run, monkeypatch):
        monkeypatch.setattr(lock_module, "BEAT_S", 0.01)
        monkeypatch.setattr(lock_module, "SILENCE_S", 0.3)
        lock, told, original = run / names.LOCK_FILE, threading.Event(), Remote.write_bytes

        def stopped(self, content):
            original(self, content)
            if threading.current_thread() is not threading.main_thread():
                lock_module.time.sleep(0.5)

        monkeypatch.setattr(Remote, "write_bytes", stopped)
        with lock_module.hold_in_bucket(lock, lambda _: told.set()):
            assert told.wait(10)

    def test_signs_of_life(self, run, monkeypatch):
        monkeypatch.setattr(lock_module, "BEAT_S", 0.01)
        lock = run / names.LOCK_FILE
        with hold_in_bucket(lock):
            lock.unlink()
            for _ in range(500):
                if worker_in_bucket(lock):
                    break
                lock_module.time.sleep(0.01)
            else:
                raise AssertionError("none came")


class TestTakenAway:
    def test_nothing_is_sent_any_more(self, run, tmp_path):
        copy = BucketCopy(run, tmp_path / "copy")
        write(copy.folder, FILES)
        copy.taken_by = "process 2 on elsewhere"
        with pytest.raises(JobError, match="process 2 on elsewhere has taken it up"):
            copy.send()
        assert not run.exists()


class TestKept:
    """At any moment the state in the bucket names weights that are there too."""

    def test_a_training_goes_on_elsewhere(self, run, monkeypatch):
        home, sent = run / "trials" / "0000", []
        original = Remote.unlink
        monkeypatch.setattr(
            Remote, "unlink", lambda self, missing_ok=False: sent.append(f"-{self.name}") or original(self)
        )
        from resvae_ray.search.run.bucket import checkpoints as kept_module

        upload = kept_module.upload
        monkeypatch.setattr(kept_module, "upload", lambda s, t: sent.append(t.name) or upload(s, t))
        with kept_in(home) as kept:
            write(kept.folder, {"best-0001.safetensors": "1", "resume.safetensors": "r1"})
            kept.send()
            (kept.folder / "best-0001.safetensors").unlink()
            write(kept.folder, {"best-0002.safetensors": "2", "resume.safetensors": "r2"})
            kept.send()
        assert not kept.folder.exists()
        assert sent == [
            *("best-0001.safetensors", "resume.safetensors"),
            *("best-0002.safetensors", "resume.safetensors", "-best-0001.safetensors"),
        ]
        with kept_in(home) as again:
            assert sorted(os.listdir(again.folder)) == ["best-0002.safetensors", "resume.safetensors"]
            assert (again.folder / "resume.safetensors").read_text() == "r2"
            sent.clear()
            write(again.folder, {"resume.safetensors": "r3"})
            again.send()
        assert sent == ["resume.safetensors"]

    def test_weights_of_a_name_that_is_there_already_replace_them(self, run):
        """As of a training that starts anew because those in the bucket are damaged."""
        home = run / "trials" / "0000"
        for name in ("best-0002.safetensors", "best-0003.safetensors", "resume.safetensors"):
            (home / name).write_bytes(b"damaged")
        with kept_in(home) as kept:
            write(kept.folder, {"best-0002.safetensors": "anew", "resume.safetensors": "r"})
            kept.send()
        assert {name: (home / name).read_text() for name in home.files()} == {
            "best-0002.safetensors": "anew",
            "best-0003.safetensors": "damaged",
            "resume.safetensors": "r",
        }

    def test_on_a_disk_it_is_the_folder_itself(self, tmp_path):
        with kept_in(tmp_path / "trials" / "0000") as kept:
            assert kept.folder == tmp_path / "trials" / "0000"
            kept.send()
        assert kept.folder.is_dir()
