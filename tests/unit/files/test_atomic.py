import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.files import atomic as storage
from resvae_ray.files import listing, s3
from resvae_ray.files import place as remote
from resvae_ray.files.atomic import (
    cut_torn_line,
    refuse_existing,
    replace_folder,
    staged_file,
    staged_folder,
    write_json,
)
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import local_target, place, refuse_inside


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), staged_file(target) as staging:
        staging.write_text("half")
        raise RuntimeError
    assert target.read_text() == '{\n  "old": 1\n}\n'
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "out") as staging:
        (staging / "file").write_text("half")
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with staged_folder(tmp_path / "out") as staging:
        (staging / "file").write_text("whole")
    with pytest.raises(UsageError, match="already there"), staged_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "file").read_text() == "whole"


def test_replacing_a_folder_keeps_the_old_one_on_failure(tmp_path):
    target = tmp_path / "model"
    for text in ("first", "second"):
        with replace_folder(target) as fresh:
            fresh.mkdir()
            (fresh / "file").write_text(text)
    with pytest.raises(RuntimeError), replace_folder(target) as fresh:
        fresh.mkdir()
        raise RuntimeError
    assert (target / "file").read_text() == "second"
    assert os.listdir(tmp_path) == ["model"]


def test_a_replaced_folder_is_never_missing(tmp_path, monkeypatch):
    """Two renames would leave a moment without one, and what was killed then without its MODEL."""
    if sys.platform != "linux":
        pytest.skip("needs Linux, which can exchange two folders")
    monkeypatch.setattr(os, "rename", lambda *_: pytest.fail("renamed"))
    target = tmp_path / "model"
    target.mkdir()
    with replace_folder(target) as fresh:
        fresh.mkdir()
        (fresh / "file").write_text("new")
    assert (target / "file").read_text() == "new"


def test_where_folders_cannot_be_exchanged_they_are_renamed(tmp_path, monkeypatch):
    monkeypatch.setattr("resvae_ray.files.atomic._exchange", lambda *_: False)
    target = tmp_path / "model"
    target.mkdir()
    with replace_folder(target) as fresh:
        fresh.mkdir()
        (fresh / "file").write_text("new")
    assert (target / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]


def test_replacing_a_folder_resumes_after_a_kill(tmp_path):
    target = tmp_path / "model"
    left = tmp_path / f".model.partial-{socket.gethostname()}-{dead_process()}"
    for path in (left, left / "model", left / "old", target):
        path.mkdir()
    (left / "model" / ".model.partial-half").mkdir()
    with replace_folder(target) as fresh:
        fresh.mkdir()
        (fresh / "file").write_text("new")
    assert (target / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_in_which_only_a_killed_process_wrote_is_free(tmp_path):
    (tmp_path / f".run.json.partial-{socket.gethostname()}-{dead_process()}").touch()
    refuse_existing(tmp_path)
    (tmp_path / ".run.json.partial-elsewhere-7").touch()
    with pytest.raises(UsageError, match="already there"):
        refuse_existing(tmp_path)


def dead_process() -> int:
    killed = subprocess.Popen(["true"])
    killed.wait()
    return killed.pid


def test_new_files_have_the_permissions_of_the_user(tmp_path):
    tmp_path.chmod(0o777)
    with staged_file(tmp_path / "a") as staging:
        staging.touch(0o600)
    mask = os.umask(0o022)
    os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def test_glob_characters_in_a_name_are_literal(tmp_path):
    (tmp_path / "r[1]").mkdir()
    (tmp_path / "r[1]" / "a.parquet").touch()
    for path in (tmp_path / "r[1]", tmp_path / "r[1]" / "a.parquet"):
        assert list_files(path, ".parquet")[1] == [str(tmp_path / "r[1]" / "a.parquet")]


def test_files_of_a_folder_are_sorted_and_hidden_ones_passed_over(tmp_path):
    for name in ("b/1.parquet", "a/2.parquet", ".x/3.parquet", "_tmp.parquet", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.removeprefix(f"{tmp_path}/") for file in list_files(tmp_path, ".parquet")[1]] == [
        "a/2.parquet",
        "b/1.parquet",
    ]
    assert len(list_files(f"{tmp_path}/*/1.parquet", ".parquet")[1]) == 1
    with pytest.raises(DataError, match="no such file"):
        list_files(tmp_path / "absent", ".parquet")


def test_results_are_not_written_to_a_uri():
    with pytest.raises(UsageError, match="without a scheme"):
        local_target("s3://bucket/run")


def test_leftovers_of_a_killed_process_are_removed_by_the_next(tmp_path):
    host = socket.gethostname()
    killed = dead_process()
    stale = [tmp_path / f".a.json.partial-{host}-{killed}", tmp_path / f".out.partial-{host}-{killed}"]
    foreign = tmp_path / f".a.json.partial-elsewhere-{killed}"
    alive = tmp_path / f".a.json.partial-{host}-{os.getppid()}"
    for path in (stale[0], foreign, alive):
        path.touch()
    stale[1].mkdir()
    write_json(tmp_path / "a.json", 1)
    with staged_folder(tmp_path / "out") as staging:
        (staging / "file").touch()
    assert sorted(tmp_path.iterdir()) == sorted([foreign, alive, tmp_path / "a.json", tmp_path / "out"])


@pytest.mark.parametrize(("before", "after"), [("a\nb\ntor", "a\nb\n"), ("a\n", "a\n"), ("torn", ""), ("", "")])
def test_a_torn_line_is_cut(before, after, tmp_path):
    path = tmp_path / "lines"
    path.write_text(before)
    cut_torn_line(path)
    assert path.read_text() == after


class TestUnreachableStorage:
    """One exit code, wherever the network fails."""

    def test_on_the_way_to_it(self, monkeypatch):
        def fail(*_):
            raise OSError("AWS Error NETWORK_CONNECTION: no host\nmore")

        monkeypatch.setattr(s3, "_bucket", fail)
        with pytest.raises(
            JobError, match=r"^s3://b/f\.parquet: cannot be reached: AWS Error NETWORK_CONNECTION: no host$"
        ):
            remote.locate("s3://b/f.parquet")

    def test_when_it_is_asked_for_files(self, monkeypatch):
        def fail(_):
            raise OSError("AWS Error NETWORK_CONNECTION: no host")

        monkeypatch.setattr(listing, "locate", lambda _: (SimpleNamespace(get_file_info=fail), "b/f.parquet"))
        with pytest.raises(JobError, match=r"s3://b/f\.parquet: cannot be reached: AWS"):
            list_files("s3://b/f.parquet", ".parquet")

    def test_an_unknown_scheme_is_a_usage_error(self):
        with pytest.raises(UsageError, match="not a path or URI"):
            remote.locate("gopher://b/f.parquet")


def test_a_link_to_an_empty_folder_means_that_folder(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with staged_folder(tmp_path / "link") as staging:
        (staging / "file").write_text("new")
    assert (tmp_path / "disk" / "file").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_a_folder_is_not_put_where_a_disk_is_mounted(tmp_path, monkeypatch):
    """The error comes before the work, because the result could not be saved."""
    (tmp_path / "mounted").mkdir()
    monkeypatch.setattr("pathlib.Path.is_mount", lambda path: path.name == "mounted")
    with pytest.raises(UsageError, match="a disk is mounted there"), staged_folder(tmp_path / "mounted"):
        raise AssertionError("no work is begun")
    with staged_folder(tmp_path / "mounted" / "in_it") as staging:
        (staging / "file").touch()
    assert (tmp_path / "mounted" / "in_it" / "file").exists()


def test_a_folder_replaces_the_partial_output_of_a_killed_process(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / f".config.json.partial-{socket.gethostname()}-{dead_process()}").touch()
    with staged_folder(tmp_path / "model") as staging:
        (staging / "file").touch()
    assert os.listdir(tmp_path / "model") == ["file"]


def test_files_added_to_the_folder_meanwhile_stay(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageError, match="already there"), staged_folder(tmp_path / "model") as staging:
        (staging / "ours").touch()
        (tmp_path / "model" / "theirs").touch()
    assert os.listdir(tmp_path / "model") == ["theirs"]


def test_files_added_at_the_last_moment_stay_too(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.setattr(storage, "_remove_left", lambda folder: (folder / "theirs").touch())
    with pytest.raises(OSError, match="not empty"), staged_folder(tmp_path / "model") as staging:
        (staging / "ours").touch()
    assert os.listdir(tmp_path / "model") == ["theirs"]


@pytest.mark.parametrize(
    ("target", "source", "inside"),
    [
        ("features/latents", "features", True),
        ("./features/../features/latents", "features", True),
        ("features2/latents", "features", False),
        ("latents", "features", False),
        ("features/latents", "features/*.parquet", False),
    ],
)
def test_output_inside_its_source(target, source, inside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features").mkdir()
    expected = pytest.raises(UsageError, match="would be read as a part of it") if inside else nullcontext()
    with expected:
        refuse_inside(place(target), source)
