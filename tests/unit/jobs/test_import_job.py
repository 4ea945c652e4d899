"""A job writes the bytes of one process, also after an interruption."""

import json
from typing import Any

import pyarrow.parquet as pq
import pytest
from s3_servers import denying, served
from shard_files import contents, write_shard

from resvae_ray.cli import main
from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.files.place import BucketPlace, place
from resvae_ray.jobs import portions, unique_ids
from resvae_ray.jobs.import_job import import_shards

pytestmark = pytest.mark.usefixtures("tasks_here")
ON_RAY: Any = {"address": "auto"}


@pytest.fixture
def expected(shards, tmp_path):
    import_features(shards, tmp_path / "expected")
    return contents(tmp_path / "expected")


@pytest.mark.parametrize("choice", [ColumnChoice(), ColumnChoice(ids="rows"), ColumnChoice(id_column="id")])
def test_the_bytes_and_the_summary_are_those_of_one_process(shards, tmp_path, choice):
    for path in shards.iterdir() if choice.ids else ():
        pq.write_table(pq.read_table(path).drop_columns("id"), path)
    alone = import_features(shards, tmp_path / "alone", choice, describe={"model": "m"})
    told = []
    job = import_shards(shards, tmp_path / "job", choice, describe={"model": "m"}, on_ray=told.append, **ON_RAY)
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")
    assert len(contents(tmp_path / "job")) == 9
    assert (job.rows, job.dim, job.label, job.columns, job.found) == (
        (alone.rows, alone.dim, alone.label, alone.columns, alone.found)
    )
    assert told == [9]


@pytest.mark.parametrize("killed_after", [0, 1, 8])
def test_the_same_command_resumes_with_the_missing_files(shards, tmp_path, tasks_here, expected, killed_after):
    tasks_here.after[killed_after] = JobError("the bucket is gone")
    with pytest.raises(JobError, match="the bucket is gone"):
        import_shards(shards, tmp_path / "job", **ON_RAY)
    with pytest.raises(DataError, match="is being written, or was when that was interrupted"):
        Features.open(tmp_path / "job")
    made = {name: (tmp_path / "job" / name).stat().st_mtime_ns for name in tasks_here}
    tasks_here.after.clear()
    import_shards(shards, tmp_path / "job", **ON_RAY)
    assert contents(tmp_path / "job") == expected
    assert len(tasks_here) == 9
    assert {name: (tmp_path / "job" / name).stat().st_mtime_ns for name in made} == made


def test_a_finished_folder_is_not_written_again(shards, tmp_path):
    import_shards(shards, tmp_path / "job", **ON_RAY)
    with pytest.raises(UsageError, match="already there"):
        import_shards(shards, tmp_path / "job", **ON_RAY)


def test_other_options_do_not_resume(shards, tmp_path, tasks_here):
    tasks_here.after[2] = JobError("stop")
    with pytest.raises(JobError):
        import_shards(shards, tmp_path / "job", **ON_RAY)
    with pytest.raises(UsageError, match="holds a part of what another command began to write; remove it"):
        import_shards(shards, tmp_path / "job", describe={"model": "other"}, **ON_RAY)


def test_a_shard_that_changes_after_it_was_counted_is_named_and_the_same_command_begins_anew(
    shards, tmp_path, monkeypatch
):
    counted = portions.states_of

    def change_after(source, files):
        found = counted(source, files)
        if len(files) == 3:
            write_shard(shards / "c.parquet", 40, 58)
        return found

    with monkeypatch.context() as changing:
        changing.setattr("resvae_ray.jobs.import_job.states_of", change_after)
        with pytest.raises(JobError, match=r"c\.parquet: has changed since its rows were counted; run the same"):
            import_shards(shards, tmp_path / "job", **ON_RAY)
    assert import_shards(shards, tmp_path / "job", **ON_RAY).rows == 98
    import_features(shards, tmp_path / "alone")
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")


def test_shards_of_two_widths_are_named_and_resume_when_mended(shards, tmp_path, expected):
    write_shard(shards / "c.parquet", 40, 60, dim=5)
    with pytest.raises(DataError, match=r"c\.parquet: row 1: a vector of 5 numbers, but 4 in the rows before"):
        import_shards(shards, tmp_path / "job", **ON_RAY)
    write_shard(shards / "c.parquet", 40, 60)
    import_shards(shards, tmp_path / "job", **ON_RAY)
    assert contents(tmp_path / "job") == expected


@pytest.mark.parametrize("task_rows", [1, 30, 1000])
def test_an_id_in_two_shards_is_found_in_any_share_of_the_ids(shards, tmp_path, monkeypatch, task_rows):
    monkeypatch.setattr(unique_ids, "TASK_ROWS", task_rows)
    import_shards(shards, tmp_path / "sound", **ON_RAY)
    write_shard(shards / "d.parquet", 100, 1, ids=["P007"])
    with pytest.raises(DataError, match="id 'P007' appears in row 8 and in row 101"):
        import_shards(shards, tmp_path / "job", **ON_RAY)
    assert not list((tmp_path / "job").glob("*.parquet"))


def test_a_bucket_gets_the_same_bytes_and_keeps_no_mark(shards, bucket, expected):
    import_shards(shards, f"{bucket}/job", **ON_RAY)
    folder = place(f"{bucket}/job")
    assert {name: (folder / name).read_bytes() for name in folder.file_names()} == expected


def test_a_bucket_that_fails_in_the_middle_is_named_with_the_file_and_the_same_command_resumes(
    shards, bucket, expected, tasks_here, monkeypatch
):
    with served(denying("part-00004")) as faulty, monkeypatch.context() as there:
        there.setenv("AWS_ENDPOINT_URL", faulty)
        with pytest.raises(JobError, match=r"job/part-00004\.parquet: cannot be reached: .*ACCESS_DENIED"):
            import_shards(shards, f"{bucket}/job", **ON_RAY)
    folder = place(f"{bucket}/job")
    assert folder.file_names() == {"_uploading", *(f"part-0000{number}.parquet" for number in range(4))}
    import_shards(shards, f"{bucket}/job", **ON_RAY)
    assert {name: (folder / name).read_bytes() for name in folder.file_names()} == expected
    assert len(tasks_here) == 9


def test_an_interrupted_upload_of_another_command_is_left_alone(shards, bucket):
    BucketPlace(f"{bucket}/job/_uploading").write_bytes(b"process 1 on host\n")
    with pytest.raises(UsageError, match="is being written, or was when that was interrupted"):
        import_shards(shards, f"{bucket}/job", **ON_RAY)


def test_small_sources_single_files_and_other_formats_need_no_ray(shards, tmp_path, tasks_here):
    (tmp_path / "a.csv").write_text("id,f0,f1\np,1,2\nq,3,4\n")
    import_shards(shards, tmp_path / "small")
    import_shards(shards, tmp_path / "one.parquet", **ON_RAY)
    import_shards(tmp_path / "a.csv", tmp_path / "csv", **ON_RAY)
    assert tasks_here == []


def test_the_command_says_that_it_runs_on_ray(shards, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("resvae_ray.jobs.portions.LARGE_BYTES", 1)
    assert main(["import", str(shards), str(tmp_path / "job")]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'job'}: 100 proteins x 4 features, with labels\n"
    assert "a Ray job writes 9 files" in err


def test_the_mark_says_what_is_being_made(shards, tmp_path, tasks_here):
    tasks_here.after[1] = JobError("stop")
    with pytest.raises(JobError):
        import_shards(shards, tmp_path / "job", **ON_RAY)
    mark = json.loads((tmp_path / "job" / "_uploading").read_text())
    assert mark["command"]["verb"] == "import"
    assert sorted(mark["sources"]) == [str(shards / f"{name}.parquet") for name in "abc"]
