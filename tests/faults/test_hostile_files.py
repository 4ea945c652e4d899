"""Untrusted files run no code, use no more memory than their content, and cannot name paths outside the target."""

import os
import pickle
import struct
import zipfile
import zlib
from contextlib import suppress

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from formats import write_h5ad_rows
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._base import BaseJournalSnapshot
from reader import REFUSED

from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import DataError, UsageError
from resvae_ray.model.network import ResVAE
from resvae_ray.model.published import load_published_weights
from resvae_ray.model.tensor_file import read_tensors
from resvae_ray.search.run.run import Run

IDS = [f"P{number:02d}" for number in range(20)]


@pytest.fixture
def evil(tmp_path):
    """An object that makes the folder `ran` when it is unpickled."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    yield Evil()
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Evil()))
    assert (tmp_path / "ran").exists(), "the test would not see it"


def write_npz(path, matrix, evil):
    np.savez(path, emb=matrix, ids=np.array([evil] * len(matrix), dtype=object), allow_pickle=True)


def write_npy(path, matrix, evil):
    np.save(path, np.array([[evil, evil]], dtype=object), allow_pickle=True)


def write_pt(path, matrix, evil):
    torch.save({"label": "P01", "mean_representations": {6: torch.ones(3)}, "extra": evil}, path)


def write_h5(path, matrix, evil):
    with h5py.File(path, "w") as file:
        file["embeddings"] = matrix
        file["ids"] = np.array([np.void(pickle.dumps(evil))] * len(matrix))


def write_h5ad(path, matrix, evil):
    write_h5ad_rows(path, matrix, IDS, ["a"] * 20)
    with h5py.File(path, "r+") as file:
        file["obs"].attrs["encoding-type"] = np.void(pickle.dumps(evil))
        del file["obs"]["label"]
        file["obs"]["label"] = np.array([np.void(pickle.dumps(evil))] * len(matrix))
        file["obs"]["label"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def write_parquet(path, matrix, evil):
    """With a type of the kind that Arrow once unpickled when it opened a file."""
    kind = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(evil)}
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])
    fields = [pa.field("id", pa.string()), pa.field("note", pa.string(), metadata=kind), pa.field("f", vectors.type)]
    pq.write_table(pa.table([pa.array(IDS), pa.array(IDS), vectors], schema=pa.schema(fields)), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npz", write_npz),
        ("a.npy", write_npy),
        ("a.pt", write_pt),
        ("a.h5", write_h5),
        ("a.h5ad", write_h5ad),
        ("a.parquet", write_parquet),
    ],
)
def test_no_reader_runs_code(name, write, matrix, evil, tmp_path):
    write(tmp_path / name, matrix, evil)
    with suppress(DataError, UsageError):
        import_features(tmp_path / name, tmp_path / "out.parquet")


def test_no_model_checkpoint_or_journal_runs_code(evil, searched, tmp_path):
    model = ResVAE(6, 8, 3).save_pretrained(tmp_path / "model")
    for place, read in (
        (model / "model.safetensors", lambda: ResVAE.from_pretrained(model)),
        (model / "config.json", lambda: ResVAE.from_pretrained(model)),
        (tmp_path / "resume.safetensors", lambda: read_tensors(tmp_path / "resume.safetensors")),
        (tmp_path / "model_parameters.pt", lambda: load_published_weights(tmp_path / "model_parameters.pt")),
    ):
        place.write_bytes(pickle.dumps(evil))
        with pytest.raises(DataError, match=place.name):
            read()
    run = searched([("complete", [9.0])])
    for name in ("study.journal", "epochs.jsonl", "run.json"):
        whole = (run / name).read_bytes()
        (run / name).write_bytes(pickle.dumps(evil) + b"\n")
        with pytest.raises(DataError, match=name):
            Run.open(run).status()
        (run / name).write_bytes(whole)


def test_the_journal_has_no_snapshots_which_would_be_pickles():
    assert not issubclass(JournalFileBackend, BaseJournalSnapshot)


PATHS = ["../../etc/evil", "/tmp/evil"]
FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx"]
HOSTILE = [*PATHS, *FORMULAS, "<script>alert(1)</script>", "a\x1b[2Jb", "\u202edc"]


def test_ids_name_no_files_and_come_back_as_they_were(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(len(HOSTILE), 3)).astype(np.float32)
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "a.npz", emb=matrix, ids=np.array(HOSTILE), label=np.array(HOSTILE))
    import_features(tmp_path / "in" / "a.npz", tmp_path / "features")
    dataset = split_features(tmp_path / "features", tmp_path / "dataset")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    sides = {f"dataset/{side}/part-00000.parquet" for side in ("train", "val")}
    assert found == {"in/a.npz", "features/part-00000.parquet", "dataset/dataset.json", *sides}
    ids = [name for side in ("train", "val") for part in dataset.features(side).ids() for name in part.to_pylist()]
    assert sorted(ids) == sorted(HOSTILE)


def claiming_npz(path):
    """A few bytes whose two headers both claim a terabyte of ids."""
    header = np.lib.format.magic(1, 0)
    text = "{'descr': '<U16384', 'fortran_order': False, 'shape': (16777216,), }".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ids.npy", header + struct.pack("<H", len(text)) + text.encode())
        archive.writestr("emb.npy", b"")


def claiming_xlsx(path):
    """A sheet of a few bytes that claims to unpack to 4 GB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"<x/>")
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(content)


def claiming_chunks(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("embeddings", (20, 1 << 24), "f4", chunks=(20, 1 << 24), compression="gzip")
        file["ids"] = np.array(IDS, dtype="S")


def claiming_width(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("embeddings", (20, 1 << 40), "f4", chunks=(1, 1 << 20))
        file["ids"] = np.array(IDS, dtype="S")


def claiming_sparse(path):
    write_h5ad_rows(path, np.ones((20, 6), np.float32), IDS, ["a"] * 20)
    with h5py.File(path, "r+") as file:
        file["X"].attrs["shape"] = [20, 1 << 40]


def packed_pt(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(50_000_000))


def one_line(sign):
    def write(path):
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        path.write_bytes(packer.compress(b">a\n" if sign == b"M" else b"") + packer.compress(sign * 100_000_000))
        with path.open("ab") as file:
            file.write(packer.flush())

    return write


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("way", "name", "write"),
    [
        ("import", "a.npz", claiming_npz),
        ("import", "a.xlsx", claiming_xlsx),
        ("import", "chunks.h5", claiming_chunks),
        ("import", "width.h5", claiming_width),
        ("import", "a.h5ad", claiming_sparse),
        ("import", "a.pt", packed_pt),
        ("import", "a.csv.gz", one_line(b"a")),
        ("proteins", "a.fasta.gz", one_line(b"M")),
    ],
)
def test_claimed_sizes_are_not_allocated(way, name, write, reader, tmp_path):
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 500_000
    outcome = reader.read(way, tmp_path / name)
    assert outcome.kind == REFUSED, outcome
    assert name in outcome.text


def test_a_parquet_file_that_claims_many_rows(reader, tmp_path):
    """Rows of one value take next to nothing on the disk; they are read a few at a time."""
    path = tmp_path / "a.parquet"
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(1 << 24, np.float32)), 1 << 12)
    pq.write_table(pa.table({"id": pa.array(["a"] * (1 << 12)), "features": vectors}), path)
    assert path.stat().st_size < 100_000
    outcome = reader.read("import", path)
    assert outcome.kind == REFUSED, outcome
    assert "id 'a' appears in row 1 and in row 2" in outcome.text
    assert Features.open(path).rows == 1 << 12
