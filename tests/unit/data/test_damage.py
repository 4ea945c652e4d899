"""Regression tests for failures on damaged files; tests/faults searches for new ones."""

import shutil
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.config import DataConfig
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.proteins import fasta, read_proteins
from resvae_ray.data.stream import open_rows
from resvae_ray.errors import DataError


def refused(path, message):
    with pytest.raises(DataError, match=message) as caught:
        import_features(path, path.with_name("out.parquet"))
    assert path.name in str(caught.value)


def test_a_flipped_bit_in_a_page_is_seen(make_features):
    path = make_features(60, 12)
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    assert column.path_in_schema.startswith("features")
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"features.parquet: damaged: .*CRC"):
        list(Features.open(path).batches())


def test_ids_that_are_not_text_are_refused(matrix, tmp_path):
    ids = pa.StringArray.from_buffers(20, pa.py_buffer(np.arange(21, dtype=np.int32)), pa.py_buffer(b"\xff" * 20))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), 6)
    pq.write_table(pa.table({"id": ids, "features": vectors}), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "column id: damaged: .*UTF8")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_an_array_that_holds_more_than_its_header_says_is_refused(name, matrix, tmp_path):
    if name == "a.npy":
        np.save(tmp_path / name, matrix)
    else:
        np.savez(tmp_path / name, emb=matrix)
    whole = (tmp_path / name).read_bytes()
    content = whole.replace(b"(20, 6)", b"(10, 6)")
    assert content != whole
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "continues after an array of 10 x 6" if name == "a.npy" else "continues after|CRC")


def test_an_entry_that_an_archive_swallows_is_missed(matrix, tmp_path):
    """One bit in the length of a comment made the array after it disappear."""
    np.savez(tmp_path / "a.npz", emb=matrix, ids=np.array(list("abcdefghijklmnopqrst")), label=np.array(["a"] * 20))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    last = content.rindex(b"PK\x01\x02")
    before = content.rindex(b"PK\x01\x02", 0, last)
    length = content.index(b"PK\x05\x06") - last
    content[before + 32 : before + 34] = length.to_bytes(2, "little")
    (tmp_path / "a.npz").write_bytes(content)
    assert len(zipfile.ZipFile(tmp_path / "a.npz").namelist()) == 2
    refused(tmp_path / "a.npz", "its table of contents is damaged")


def test_a_protein_whose_data_set_is_lost_is_detected(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["P1"], file["P2"] = np.ones(3), np.ones(3)
        file["P3"] = np.dtype("f4")
    refused(tmp_path / "a.h5", "'P3' is neither a data set nor a group")


def test_the_checksums_of_a_pt_file_are_compared(tmp_path):
    torch.save({"label": "P01", "mean_representations": {6: torch.arange(8.0)}}, tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    spoilt = content.replace(torch.arange(8.0).numpy().tobytes(), torch.ones(8).numpy().tobytes())
    assert spoilt != content
    (tmp_path / "a.pt").write_bytes(spoilt)
    refused(tmp_path / "a.pt", "the checksum of .* is wrong")


@pytest.mark.parametrize("text", [">a\n" + "M" * 300 + "\n", ">a\n" + "MMMM\n" * 60])
def test_a_sequence_without_end_is_not_held(text, tmp_path, monkeypatch):
    monkeypatch.setattr(fasta, "LETTERS_MOST", 200)
    (tmp_path / "a.fasta").write_text(text)
    with pytest.raises(DataError, match="a.fasta: line . (has|.*sequence of) more than 200 letters|a sequence of more"):
        list(read_proteins(tmp_path / "a.fasta"))


def test_other_rows_in_the_place_of_a_dataset_s_are_seen(make_dataset):
    one, other = make_dataset(60, 6, "one", 0), make_dataset(60, 6, "other", 1)
    shutil.copy(other / "train" / "part-00000.parquet", one / "train" / "part-00000.parquet")
    with pytest.raises(DataError, match="one: its files are not those that dataset.json was written with"):
        Dataset.open(one)


def test_rows_that_change_while_they_are_streamed_are_refused(make_dataset):
    one, shorter = make_dataset(60, 6, "one", 0), make_dataset(40, 6, "shorter", 0)
    rows = open_rows(Dataset.open(one), "train", DataConfig(mode="stream"))
    assert sum(map(len, rows.in_order(100))) == 48
    path = one / "train" / "part-00000.parquet"
    shutil.copy(shorter / "train" / "part-00000.parquet", path)
    with pytest.raises(DataError, match="part-00000.parquet: row group 0 is not 48 vectors of 6 finite numbers"):
        list(rows.shuffled(8, 0, 1))
    path.unlink()
    with pytest.raises(DataError, match="part-00000.parquet: no such file"):
        list(rows.in_order(100))
