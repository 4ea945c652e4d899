"""`embed` from and to a bucket: the bytes of a disk, also after an interruption."""

import random

import pytest
from s3_servers import denying, served
from tiny_esm import DIM, write_tiny_esm

from resvae_ray.data import features_writer
from resvae_ray.data.features import Features
from resvae_ray.embed import embed_proteins as job
from resvae_ray.embed import work
from resvae_ray.embed.embed_proteins import embed_proteins
from resvae_ray.embed.settings import Embedding
from resvae_ray.embed.workers import Workers
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.files.place import BucketPlace, place

PARTS, FILES = 10, 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_esm(tmp_path_factory.mktemp("model") / "esm2_tiny", layers=1))


@pytest.fixture(autouse=True)
def small(monkeypatch, tasks_here):
    """Two blocks with PARTS parts, and FEATURES in FILES files."""
    monkeypatch.setattr(job, "PART_RESIDUES", (160, 160))
    monkeypatch.setattr(work, "BLOCK_BYTES", 4 * DIM * 40)
    monkeypatch.setattr(features_writer, "ROW_GROUP_BYTES", 4 * DIM * 5)
    monkeypatch.setattr(features_writer, "FILE_BYTES", 4 * DIM * 10)


@pytest.fixture
def proteins(bucket):
    """80 proteins in a bucket."""
    draw = random.Random(0)
    texts = ["".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=draw.randint(1, 40))) for _ in range(80)]
    file = f"{bucket}/p.fasta"
    BucketPlace(file).write_bytes("".join(f">P{i:02d}\n{text}\n" for i, text in enumerate(texts)).encode())
    return file


def bytes_of(folder):
    folder = place(folder)
    return {name: (folder / name).read_bytes() for name in folder.file_names()}


@pytest.mark.parametrize("pooling", ["mean", "all"])
def test_a_bucket_gets_the_bytes_of_a_disk_and_keeps_nothing_else(proteins, bucket, model, tmp_path, pooling):
    settings = Embedding(model, pooling)
    embed_proteins(proteins, tmp_path / "features", settings)
    summary = embed_proteins(proteins, f"{bucket}/features", settings)
    assert bytes_of(f"{bucket}/features") == bytes_of(tmp_path / "features")
    assert (summary.path, summary.rows) == (f"{bucket}/features", 80)
    assert {name.partition("/")[0] for name in place(bucket).file_names()} == {"p.fasta", "features"}
    with pytest.raises(UsageError, match="features: already there"):
        embed_proteins(proteins, f"{bucket}/features", settings)


def test_a_file_in_a_bucket_and_a_folder_that_a_cluster_writes(proteins, bucket, model, tmp_path):
    for name in ("one.parquet", "folder"):
        embed_proteins(proteins, tmp_path / name, Embedding(model))
    embed_proteins(proteins, f"{bucket}/one.parquet", Embedding(model))
    assert place(f"{bucket}/one.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    embed_proteins(proteins, tmp_path / "shared", Embedding(model), workers=Workers(address="auto"))
    assert bytes_of(tmp_path / "shared") == bytes_of(tmp_path / "folder")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("parts", "files"), [(1, 0), (PARTS - 1, 0), (PARTS, 1), (PARTS, FILES - 1)])
def test_the_same_command_resumes_with_what_is_missing(proteins, bucket, model, tmp_path, tasks_here, parts, files):
    embed_proteins(proteins, tmp_path / "features", Embedding(model))
    target, embed_part, embedded = f"{bucket}/features", job.embed_part, []

    def end_after(part, **arguments):
        if len(embedded) == parts and parts < PARTS:
            raise JobError("the machine is gone")
        embedded.append(part.number)
        return embed_part(part, **arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(JobError, match="the machine is gone"):
        patch.setattr(job, "embed_part", end_after)
        tasks_here.after = {files: JobError("the machine is gone")} if files else {}
        embed_proteins(proteins, target, Embedding(model))
    tasks_here.after = {}
    if files:
        with pytest.raises(DataError, match="features: is being written, or was when that was interrupted"):
            Features.open(target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "embed_part", lambda part, **how: embedded.append(part.number) or embed_part(part, **how))
        embed_proteins(proteins, target, Embedding(model))
    assert sorted(embedded) == list(range(PARTS))
    assert sorted(tasks_here) == [f"part-{number:05d}.parquet" for number in range(FILES)]
    assert bytes_of(target) == bytes_of(tmp_path / "features")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("block-00001", r"\.features\.embedding/block-00001\.parquet"),
        ("part-00004.npy", r"\.features\.embedding/part-00004\.npy"),
        ("part-00003.parquet", r"features/part-00003\.parquet"),
    ],
)
def test_a_bucket_that_fails_is_named_with_the_piece_and_the_same_command_resumes(
    proteins, bucket, model, tmp_path, words, named
):
    embed_proteins(proteins, tmp_path / "features", Embedding(model))
    with served(denying(words)) as faulty, pytest.MonkeyPatch.context() as there:
        there.setenv("AWS_ENDPOINT_URL", faulty)
        with pytest.raises(JobError, match=named + ": cannot be reached: .*ACCESS_DENIED"):
            embed_proteins(proteins, f"{bucket}/features", Embedding(model))
    embed_proteins(proteins, f"{bucket}/features", Embedding(model))
    assert bytes_of(f"{bucket}/features") == bytes_of(tmp_path / "features")


def test_other_options_do_not_resume(proteins, bucket, model, tasks_here):
    tasks_here.after[2] = JobError("stop")
    with pytest.raises(JobError, match="stop"):
        embed_proteins(proteins, f"{bucket}/features", Embedding(model))
    with pytest.raises(UsageError, match="holds a part of what another command began to write"):
        embed_proteins(proteins, f"{bucket}/features", Embedding(model, "mean"))


def test_proteins_that_are_refused_leave_nothing(bucket, model):
    BucketPlace(f"{bucket}/p.fasta").write_bytes(b">A\nMKT\n>A\nMK\n")
    with pytest.raises(DataError, match="id 'A' appears in line 1 and in line 3"):
        embed_proteins(f"{bucket}/p.fasta", f"{bucket}/features", Embedding(model))
    assert place(bucket).file_names() == {"p.fasta"}
