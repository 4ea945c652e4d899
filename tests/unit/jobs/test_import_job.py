"""A job writes the bytes of one process, also after an interruption."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from s3_servers import denying, served
from shard_files import contents, write_shard

from resvae_ray.cli import main
from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.importers.delimited import TextSource
from resvae_ray.data.importers.torch_files import ExtractedFiles
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
        changing.setattr("resvae_ray.jobs.import_sources.states_of", change_after)
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


@pytest.fixture
def tables(tmp_path):
    """30 rows in three tables: comma and semicolon, one gzipped."""
    (tmp_path / "tables").mkdir()
    for number in range(3):
        rows = range(10 * number, 10 * number + 10)
        table = pd.DataFrame(
            {"id": [f"P{row}" for row in rows], "note": "007", "f0": rows, "f1": [-row for row in rows]}
        )
        name = ("a.csv", "b.csv.gz", "c.csv")[number]
        table.to_csv(tmp_path / "tables" / name, index=False, sep=";" if number == 2 else ",")
    return tmp_path / "tables"


def rows_in(folder):
    """The columns of FEATURES as lists."""
    batches = list(Features.open(folder).batches())
    columns = [batch.beside().to_pydict() | {"features": batch.features.tolist()} for batch in batches]
    return {name: [value for part in columns for value in part[name]] for name in columns[0]}


def test_tables_become_a_file_each_with_the_rows_of_one_process(tables, tmp_path, tasks_here):
    alone = import_features(tables, tmp_path / "alone")
    job = import_shards(tables, tmp_path / "job", **ON_RAY)
    assert rows_in(tmp_path / "job") == rows_in(tmp_path / "alone")
    assert rows_in(tmp_path / "job")["note"] == ["007"] * 30
    assert tasks_here == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert (job.rows, job.dim, job.label, job.columns) == (alone.rows, alone.dim, alone.label, alone.columns)
    assert import_shards(f"{tables}/[ab]*.csv", tmp_path / "glob", **ON_RAY).rows == 10
    assert import_shards(f"{tables}/*.csv", tmp_path / "both", **ON_RAY).rows == 20


def test_tables_resume_and_a_changed_one_is_named(tables, tmp_path, tasks_here):
    tasks_here.after[1] = JobError("the machine is gone")
    with pytest.raises(JobError, match="the machine is gone"):
        import_shards(tables, tmp_path / "job", **ON_RAY)
    tasks_here.after.clear()
    import_shards(tables, tmp_path / "job", **ON_RAY)
    assert len(tasks_here) == 3
    reading = TextSource.rows

    def change_before(opened, file):
        yield from reading(opened, file)
        if file.endswith("c.csv"):
            (tables / "c.csv").write_text("id;note;f0;f1\nX;1;2;3\n")

    with pytest.MonkeyPatch.context() as changing:
        changing.setattr(TextSource, "rows", change_before)
        with pytest.raises(JobError, match=r"c\.csv: has changed since the job began; run the same command again"):
            import_shards(tables, tmp_path / "other", **ON_RAY)
    assert import_shards(tables, tmp_path / "other", **ON_RAY).rows == 21
    assert rows_in(tmp_path / "other")["id"][-2:] == ["P19", "X"]


def test_an_id_in_two_tables_is_found(tables, tmp_path):
    (tables / "d.csv").write_text("id,note,f0,f1\nP7,1,2,3\n")
    with pytest.raises(DataError, match="tables: id 'P7' appears in row 8 and in row 31"):
        import_shards(tables, tmp_path / "job", **ON_RAY)
    (tables / "d.csv").unlink()
    assert import_shards(tables, tmp_path / "job", **ON_RAY).rows == 30


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("id,note,f0\nQ,1,2\n", r"d\.csv: no column 'f1', which .*a\.csv has"),
        ("id,note,f0,f1,f2\nQ,1,2,3,4\n", r"a\.csv: no column 'f2', which .*d\.csv has"),
        ("id,note,f0,f1\nQ,1,2,x\n", r"d\.csv: row 1, column f1: 'x' is not a number"),
        ("id,note,f0,f1\n", r"d\.csv: it holds no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_named_and_the_mended_command_resumes(tables, tmp_path, text, named):
    (tables / "d.csv").write_text(text)
    for target in (tmp_path / "job", tmp_path / "one.parquet"):
        with pytest.raises(DataError, match=named):
            import_shards(tables, target, **ON_RAY)
        assert not target.is_file()
    (tables / "d.csv").write_text("id,note,f0,f1\nQ,1,2,3\n")
    assert import_shards(tables, tmp_path / "job", **ON_RAY).rows == 31


def test_tables_of_text_vectors_of_two_widths_are_named(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text('id,embedding\np,"[1, 2]"\n')
    (tmp_path / "tables" / "b.csv").write_text('id,embedding\nq,"[1, 2, 3]"\n')
    with pytest.raises(DataError, match=r"b\.csv: row 1: a vector of 3 numbers, but 2 in .*a\.csv; all vectors"):
        import_shards(tmp_path / "tables", tmp_path / "job", **ON_RAY)


def test_tables_without_ids_are_numbered_by_one_process(tables, tmp_path, tasks_here):
    for path in tables.glob("*.csv*"):
        pd.read_csv(path, sep=None, engine="python").drop(columns=["id", "note"]).to_csv(path, index=False)
    import_shards(tables, tmp_path / "job", **ON_RAY)
    assert (rows_in(tmp_path / "job")["id"], tasks_here) == ([str(row) for row in range(30)], [])


@pytest.fixture
def extracted(tmp_path):
    """30 files of esm-extract."""
    for row in range(30):
        file = tmp_path / "esm" / f"{row % 3}" / f"P{row:02d}.pt"
        file.parent.mkdir(parents=True, exist_ok=True)
        vector = torch.arange(4) + row / 2
        torch.save({"label": f"P{row:02d}", "mean_representations": {33: vector}}, file)
    return tmp_path / "esm"


def test_files_of_esm_extract_become_the_bytes_of_one_process(extracted, tmp_path, tasks_here):
    alone = import_features(extracted, tmp_path / "alone")
    tasks_here.after[1] = JobError("the machine is gone")
    with pytest.raises(JobError, match="the machine is gone"):
        import_shards(extracted, tmp_path / "job", **ON_RAY)
    tasks_here.after.clear()
    job = import_shards(extracted, tmp_path / "job", **ON_RAY)
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")
    assert (job.rows, job.dim, job.columns, job.found) == (alone.rows, alone.dim, alone.columns, alone.found)
    assert len(tasks_here) == 3


def test_files_of_esm_extract_with_a_label_twice_or_another_width_are_named(extracted, tmp_path):
    torch.save({"label": "P04", "mean_representations": {33: torch.arange(4.0)}}, extracted / "2" / "more.pt")
    with pytest.raises(DataError, match="esm: id 'P04' appears in row 12 and in row 31"):
        import_shards(extracted, tmp_path / "job", **ON_RAY)
    torch.save({"label": "Q", "mean_representations": {33: torch.arange(5.0)}}, extracted / "2" / "more.pt")
    with pytest.raises(DataError, match=r"more\.pt: a vector of 5 numbers, but 4 in the files before"):
        import_shards(extracted, tmp_path / "job", **ON_RAY)
    (extracted / "2" / "more.pt").unlink()
    assert import_shards(extracted, tmp_path / "job", **ON_RAY).rows == 30


def test_a_file_of_esm_extract_that_comes_meanwhile_is_noticed(extracted, tmp_path, monkeypatch):
    reading = ExtractedFiles.rows

    def add_after(opened, paths, start=0):
        yield from reading(opened, paths, start)
        torch.save({"label": "new", "mean_representations": {33: torch.arange(4.0)}}, extracted / "new.pt")

    with monkeypatch.context() as changing:
        changing.setattr(ExtractedFiles, "rows", add_after)
        with pytest.raises(JobError, match="esm: its files have changed since the job began; run the same command"):
            import_shards(extracted, tmp_path / "job", **ON_RAY)
    assert import_shards(extracted, tmp_path / "job", **ON_RAY).rows == 31


def test_shards_of_the_hub_with_classes_and_columns_of_numbers(tmp_path, tasks_here):
    """As `datasets` writes them: names of the classes in the metadata, splits in the names."""
    (tmp_path / "hub").mkdir()
    about = {"info": {"features": {"label": {"names": ["in", "out"], "_type": "ClassLabel"}}}}
    for split, shard, count in (("test", 0, 1), ("train", 0, 2), ("train", 1, 2)):
        rows = np.arange(20) + 20 * (shard + 2 * (split == "test"))
        numbers = {f"f{place}": pa.array(rows * place, pa.float16() if place else pa.float64()) for place in range(3)}
        table = pa.table({"accession": [f"A{row}" for row in rows], "label": rows % 2, **numbers})
        table = table.replace_schema_metadata({b"huggingface": json.dumps(about).encode()})
        pq.write_table(table, tmp_path / "hub" / f"{split}-{shard:05d}-of-{count:05d}.parquet")
    alone = import_features(tmp_path / "hub", tmp_path / "alone")
    job = import_shards(tmp_path / "hub", tmp_path / "job", **ON_RAY)
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")
    assert (job.rows, job.found) == (60, alone.found)
    assert job.found["splits"] == "test, train"
    assert set(rows_in(tmp_path / "job")["label"]) == {"in", "out"}
    assert len(tasks_here) > 1


def test_the_mark_says_what_is_being_made(shards, tmp_path, tasks_here):
    tasks_here.after[1] = JobError("stop")
    with pytest.raises(JobError):
        import_shards(shards, tmp_path / "job", **ON_RAY)
    mark = json.loads((tmp_path / "job" / "_uploading").read_text())
    assert mark["command"]["verb"] == "import"
    assert sorted(mark["sources"]) == [str(shards / f"{name}.parquet") for name in "abc"]
