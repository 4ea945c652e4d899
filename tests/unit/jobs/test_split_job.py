"""A job splits as one process does, also after an interruption."""

from typing import Any

import numpy as np
import pytest
from s3_servers import READS, WRITES, denying, served
from shard_files import contents, write_shard
from sklearn.model_selection import train_test_split

from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.files.place import BucketPlace, place
from resvae_ray.jobs import portions, split_job
from resvae_ray.jobs.portions import stretches
from resvae_ray.jobs.split_job import split_portion, split_shards
from resvae_ray.names import DATASET_FILE

pytestmark = pytest.mark.usefixtures("tasks_here")
ON_RAY: Any = {"address": "auto"}


@pytest.fixture
def val_ids(tmp_path):
    (tmp_path / "val.txt").write_text("\n".join(f"P{number:03d}" for number in range(5, 60, 3)))
    return tmp_path / "val.txt"


@pytest.fixture
def test_set(tmp_path):
    (tmp_path / "test.txt").write_text("P000\nP041\nP099\n")
    return tmp_path / "test.txt"


RULES: dict[str, Any] = {
    "random": {"seed": 3},
    "group": {"by": "sequence", "val_fraction": 0.4},
    "hash": {"seed": 1},
    "stratified": {},
    "given": {"by": "val_ids"},
}


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_gives_the_bytes_of_one_process(rule, dropped, shards, tmp_path, val_ids, test_set):
    options: Any = {"rule": rule, **RULES[rule]}
    if rule == "given":
        options["by"] = val_ids
    if dropped:
        options |= {"exclude": test_set, "drop": True}
    alone = split_features(shards, tmp_path / "alone", **options)
    job = split_shards(shards, tmp_path / "job", **options, **ON_RAY)
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")
    assert job.fingerprint == alone.fingerprint
    assert Dataset.open(tmp_path / "job").fingerprint == job.fingerprint
    assert len(list((tmp_path / "job" / "train").iterdir())) > 3


def test_random_rows_are_scikit_learns(shards, tmp_path):
    dataset = split_shards(shards, tmp_path / "job", seed=7, **ON_RAY)
    ids = [name for part in dataset.features("val").ids() for name in part.to_pylist()]
    _, expected = train_test_split([f"P{n:03d}" for n in range(100)], test_size=0.2, random_state=7)
    assert ids == sorted(expected)


@pytest.mark.parametrize("killed_after", [0, 1, 6])
def test_the_same_command_resumes_with_the_missing_files(shards, tmp_path, tasks_here, killed_after):
    split_features(shards, tmp_path / "alone")
    tasks_here.after[killed_after] = JobError("the bucket is gone")
    with pytest.raises(JobError, match="the bucket is gone"):
        split_shards(shards, tmp_path / "job", **ON_RAY)
    with pytest.raises(DataError, match="not a DATASET"):
        Dataset.open(tmp_path / "job")
    tasks_here.after.clear()
    split_shards(shards, tmp_path / "job", **ON_RAY)
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")
    assert len(tasks_here) == len(set(tasks_here))


def test_a_kill_after_the_last_file_loses_none(shards, tmp_path, tasks_here, monkeypatch):
    split_features(shards, tmp_path / "alone")
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr("resvae_ray.jobs.split_job.finish", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
        split_shards(shards, tmp_path / "job", **ON_RAY)
    made = list(tasks_here)
    split_shards(shards, tmp_path / "job", **ON_RAY)
    assert tasks_here == made
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")


def test_a_test_set_that_has_changed_begins_anew(shards, tmp_path, test_set, tasks_here):
    tasks_here.after[3] = JobError("stop")
    options: Any = {"exclude": test_set, "drop": True}
    with pytest.raises(JobError):
        split_shards(shards, tmp_path / "job", **options, **ON_RAY)
    tasks_here.after.clear()
    test_set.write_text("P001\n")
    assert split_shards(shards, tmp_path / "job", **options, **ON_RAY).excluded == 1
    split_features(shards, tmp_path / "alone", **options)
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")


def test_another_rule_does_not_resume(shards, tmp_path, tasks_here):
    tasks_here.after[3] = JobError("stop")
    with pytest.raises(JobError):
        split_shards(shards, tmp_path / "job", **ON_RAY)
    with pytest.raises(UsageError, match="holds a part of what another command began to write"):
        split_shards(shards, tmp_path / "job", seed=1, **ON_RAY)


def test_a_refusal_leaves_a_folder_that_the_mended_command_takes(shards, tmp_path):
    write_shard(shards / "d.parquet", 100, 1, ids=["P007"])
    with pytest.raises(DataError, match="id 'P007' appears in row 8 and in row 101"):
        split_shards(shards, tmp_path / "job", **ON_RAY)
    (shards / "d.parquet").unlink()
    split_shards(shards, tmp_path / "job", **ON_RAY)
    split_features(shards, tmp_path / "alone")
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")


def test_a_bucket_gets_the_same_bytes(shards, bucket, tmp_path):
    split_features(shards, tmp_path / "alone")
    split_shards(shards, f"{bucket}/job", **ON_RAY)
    folder = place(f"{bucket}/job")
    assert {name: (folder / name).read_bytes() for name in folder.file_names()} == contents(tmp_path / "alone")


def upload(shards, bucket):
    for path in shards.iterdir():
        BucketPlace(f"{bucket}/shards/{path.name}").upload(path)
    return f"{bucket}/shards"


@pytest.mark.parametrize(
    ("words", "methods", "named"),
    [
        ("val/part-00001", WRITES, r"job/val/part-00001\.parquet: cannot be reached: .*ACCESS_DENIED"),
        ("shards/c.parquet", READS, r"/shards: cannot be reached: .*shards/c\.parquet.*ACCESS_DENIED"),
    ],
)
def test_a_bucket_that_fails_or_denies_a_node_is_named_and_the_same_command_resumes(
    shards, bucket, tmp_path, tasks_here, monkeypatch, words, methods, named
):
    source, at_work = upload(shards, bucket), []
    split_features(shards, tmp_path / "alone")

    def without_access(portion, job):
        at_work.append(portion)
        return split_portion(portion, job)

    faulty = denying(words, methods=methods, when=lambda: bool(at_work))
    with served(faulty) as server, monkeypatch.context() as there:
        there.setenv("AWS_ENDPOINT_URL", server)
        there.setattr(split_job, "split_portion", without_access)
        with pytest.raises(JobError, match=named):
            split_shards(source, f"{bucket}/job", **ON_RAY)
    folder = place(f"{bucket}/job")
    assert {name for name in folder.file_names() if name.endswith(".parquet")} == set(tasks_here)
    split_shards(source, f"{bucket}/job", **ON_RAY)
    written = {name: (folder / name).read_bytes() for name in folder.file_names() if name != DATASET_FILE}
    expected = contents(tmp_path / "alone")
    del expected[DATASET_FILE]  # it has the name of the source
    assert written == expected


def test_shards_of_two_widths_are_named_and_the_mended_command_resumes(shards, tmp_path):
    write_shard(shards / "c.parquet", 40, 60, dim=5)
    with pytest.raises(DataError, match=r"c\.parquet: row 1: a vector of 5 numbers, but 4 in the rows before"):
        split_shards(shards, tmp_path / "job", **ON_RAY)
    write_shard(shards / "c.parquet", 40, 60)
    split_shards(shards, tmp_path / "job", **ON_RAY)
    split_features(shards, tmp_path / "alone")
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")


def test_a_shard_that_changes_after_it_was_counted_is_named_and_the_same_command_begins_anew(
    shards, tmp_path, monkeypatch
):
    counted = split_job.states_of

    def change_after(source, files):
        found = counted(source, files)
        write_shard(shards / "c.parquet", 40, 58)
        return found

    with monkeypatch.context() as changing:
        changing.setattr(split_job, "states_of", change_after)
        with pytest.raises(JobError, match=r"c\.parquet: has changed since its rows were counted; run the same"):
            split_shards(shards, tmp_path / "job", **ON_RAY)
    split_shards(shards, tmp_path / "job", **ON_RAY)
    split_features(shards, tmp_path / "alone")
    assert contents(tmp_path / "job") == contents(tmp_path / "alone")


def test_a_large_dataset_is_split_on_ray_unasked(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(portions, "LARGE_BYTES", 1)
    told = []
    split_shards(shards, tmp_path / "job", on_ray=told.append)
    assert told == [9]


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_stretches_hold_so_many_rows_of_a_side(block, monkeypatch):
    monkeypatch.setattr(portions, "BLOCK_ROWS", block)
    chosen = np.random.default_rng(0).random(50) < 0.4
    found = stretches(chosen, 6)
    assert [int(chosen[start:stop].sum()) for start, stop, _ in found] == [rows for _, _, rows in found]
    assert {rows for _, _, rows in found[:-1]} == {6}
    assert sum(rows for *_, rows in found) == chosen.sum()


def test_only_the_row_groups_of_a_portion_are_read(shards, monkeypatch):
    source, asked, reading = Features.open(shards), [], Features.file_batches

    def note(features, file, groups, **options):
        asked.append((file.rpartition("/")[2], list(groups)))
        return reading(features, file, groups, **options)

    monkeypatch.setattr(Features, "file_batches", note)
    portion = portions.portion_of(source, "x", 7, 38, 45)
    rows = portions.rows_of(portion, source, portions.states_of(source, source.files))
    assert [name for batch in rows for name in batch.ids.to_pylist()] == [f"P{n:03d}" for n in range(38, 45)]
    assert asked == [("a.parquet", [5]), ("c.parquet", [0])]
