"""A RUN in a bucket without a search: copies, and where a training keeps its state."""

# pyright: reportOptionalMemberAccess=false

import json
import os

import pytest
import torch

from resvae_ray.errors import DataError, JobError
from resvae_ray.files.place import BucketPlace, place
from resvae_ray.model.tensor_file import write_tensors
from resvae_ray.search.run.bucket_copy import BucketCopy, working_copy
from resvae_ray.search.run.checkpoints import checkpoint_folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RESVAE_RAY_HOME", str(tmp_path / "home"))


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
    def test_only_changes_are_uploaded(self, run, tmp_path, monkeypatch):
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
        monkeypatch.setattr(BucketPlace, "upload", lambda target, source: sent.append(target.name))
        copy.send()
        assert sent[-1] == "study.journal"
        assert "run.json" in sent

    def test_at_no_moment_is_there_a_model_of_old_and_new_files(self, run, tmp_path, monkeypatch):
        copy, seen = BucketCopy(run, tmp_path / "copy"), []
        files = {"model/config.json": "old", "model/model.safetensors": "old", "model/README.md": "old"}
        write(copy.folder, files)
        copy.send()
        original = BucketPlace.upload

        def look(target, source):
            seen.append({name: (run / name).read_text() for name in files if (run / name).exists()})
            original(target, source)

        monkeypatch.setattr(BucketPlace, "upload", look)
        write(copy.folder, {name: "newer" for name in files if not name.endswith(".md")})
        copy.send()
        assert [there for there in seen if "model/config.json" in there] == []
        assert (run / "model/config.json").read_text() == (run / "model/model.safetensors").read_text() == "newer"

    def test_files_that_ray_removes_meanwhile_are_skipped(self, run, tmp_path, monkeypatch):
        copy = BucketCopy(run, tmp_path / "copy")
        write(copy.folder, FILES)
        original = BucketCopy._send

        def send(self, changed):
            (copy.folder / "tune/x/events").unlink(missing_ok=True)
            original(self, changed)

        monkeypatch.setattr(BucketCopy, "_send", send)
        copy.send()
        assert set(run.files()) == set(FILES) - {"tune/.hidden", "tune/x/events"}

    def test_files_of_others_stay_but_old_boards_are_removed(self, run, tmp_path):
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

    def test_a_search_resumes_from_its_own_copy_which_may_be_newer(self, run):
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
        assert working_copy(BucketPlace("s3://b/run")).folder.is_relative_to(tmp_path / "cache" / "runs")

    def test_state_ahead_of_the_record_is_dropped(self, run, tmp_path):
        """Otherwise the record would lack epochs, or hold weights of an unknown proposal."""
        for number, epoch in enumerate((4, 5, 6, 7, None, None, 1, None, 6, 4)):
            folder = run / f"trials/{number:04d}"
            (folder / "best-0001.safetensors").write_bytes(b"w")
            if epoch:
                write_tensors(tmp_path / "state", {"x": torch.zeros(1)}, {"epoch": epoch})
                (folder / "resume.safetensors").upload(tmp_path / "state")
        known = {"0": 4, "1": 4, "2": 4, "3": None, "4": None, "5": 3, "7": 4, "8": 4, "9": 4}
        epochs = {f"trials/000{key}": epoch for key, epoch in known.items()}
        BucketCopy(run, tmp_path / "copy").forget_unknown(epochs, paused={f"trials/000{key}" for key in "789"})
        left = {name.split("/")[1] for name in run.files()}
        assert left == {"0000", "0001", "0003", "0004", "0007", "0009"}, (
            "2 is ahead, 5 has no state, 6 is not in the record; 7 is paused without one, and 8 ahead"
        )


class TestFetches:
    """Only a complete copy is trusted; it decides which weights are removed."""

    @pytest.fixture
    def sent(self, run, tmp_path):
        copy = BucketCopy(run, tmp_path / "elsewhere")
        write(copy.folder, FILES)
        copy.send()
        (run / "trials/0000/best-0001.safetensors").write_bytes(b"w")
        return run

    @pytest.mark.parametrize("broken", [name for name in FILES if not name.startswith("tune/.")])
    def test_an_interrupted_fetch_is_not_trusted(self, sent, broken, monkeypatch):
        download = BucketPlace.download

        def fail(source, target):
            if str(source).endswith(broken):
                raise JobError(f"{source}: cannot be reached: timeout")
            download(source, target)

        with monkeypatch.context() as patch, pytest.raises(JobError, match="timeout"):
            patch.setattr(BucketPlace, "download", fail)
            working_copy(sent).take_up()
        again = working_copy(sent)
        again.take_up()
        assert (again.folder / "study.journal").read_text() == "a\n"
        assert (again.folder / "epochs.jsonl").read_text() == "e\n"

    def test_the_completion_marker_comes_last(self, sent, monkeypatch):
        names_of, original = [], BucketPlace.download
        monkeypatch.setattr(BucketPlace, "download", lambda s, t: names_of.append(s.name) or original(s, t))
        working_copy(sent).take_up()
        assert sorted(names_of) == ["epochs.jsonl", "events", "run.json", "study.journal"]
        assert names_of[-1] == "run.json"

    def test_files_that_never_arrive_are_reported(self, sent, monkeypatch):
        download = BucketPlace.download

        def gone(source, target):
            if source.name == "study.journal":
                raise DataError(f"{source}: no such file")
            download(source, target)

        monkeypatch.setattr(BucketPlace, "download", gone)
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


class TestTakenAway:
    def test_nothing_is_sent_any_more(self, run, tmp_path):
        copy = BucketCopy(run, tmp_path / "copy")
        write(copy.folder, FILES)
        copy.taken_by = "process 2 on elsewhere"
        with pytest.raises(JobError, match="process 2 on elsewhere took over this search"):
            copy.send()
        assert not run.exists()


class TestKept:
    """At any moment the state in the bucket names weights that are there too."""

    def test_a_training_resumes_elsewhere(self, run, monkeypatch):
        home, sent = run / "trials" / "0000", []
        original = BucketPlace.unlink
        monkeypatch.setattr(
            BucketPlace, "unlink", lambda self, missing_ok=False: sent.append(f"-{self.name}") or original(self)
        )
        upload = BucketPlace.upload
        monkeypatch.setattr(BucketPlace, "upload", lambda t, s: sent.append(t.name) or upload(t, s))
        with checkpoint_folder(home) as kept:
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
        with checkpoint_folder(home) as again:
            assert sorted(os.listdir(again.folder)) == ["best-0002.safetensors", "resume.safetensors"]
            assert (again.folder / "resume.safetensors").read_text() == "r2"
            sent.clear()
            write(again.folder, {"resume.safetensors": "r3"})
            again.send()
        assert sent == ["resume.safetensors"]

    def test_weights_replace_those_of_the_same_name(self, run):
        """A training starts from scratch like this when the weights in the bucket are damaged."""
        home = run / "trials" / "0000"
        for name in ("best-0002.safetensors", "best-0003.safetensors", "resume.safetensors"):
            (home / name).write_bytes(b"damaged")
        with checkpoint_folder(home) as kept:
            write(kept.folder, {"best-0002.safetensors": "anew", "resume.safetensors": "r"})
            kept.send()
        assert {name: (home / name).read_text() for name in home.files()} == {
            "best-0002.safetensors": "anew",
            "best-0003.safetensors": "damaged",
            "resume.safetensors": "r",
        }

    def test_on_a_disk_it_is_the_folder_itself(self, tmp_path):
        with checkpoint_folder(tmp_path / "trials" / "0000") as kept:
            assert kept.folder == tmp_path / "trials" / "0000"
            kept.send()
        assert kept.folder.is_dir()
