"""Blocks and parts: all proteins in bounded pieces, and back in their order."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from resvae_ray.data.proteins import ProteinChoice
from resvae_ray.embed import work
from resvae_ray.embed.settings import Embedding
from resvae_ray.embed.work import prepare, read_part, write_features
from resvae_ray.errors import JobError

WIDTHS = {"cls": 1, "eos": 2}


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """500 proteins, the length of each its number's remainder, with its number as its vector."""
    monkeypatch.setattr(work, "BLOCK_BYTES", 12 * 40)
    path, folder = tmp_path / "p.fasta", tmp_path / "work"
    path.write_text("".join(f">P{i}\n{'M' * (1 + i * 7 % 31)}\n" for i in range(500)))
    folder.mkdir()
    return prepare(folder, str(path), ProteinChoice(), None, Embedding(), WIDTHS, 50)


def embed(prepared):
    for part in prepared.parts:
        ids, sequences, _ = read_part(prepared.folder, part)
        assert list(map(len, sequences)) == sorted(map(len, sequences))
        numbers = np.array([int(name[1:]) for name in ids], np.float32)
        np.save(part.file(prepared.folder), np.stack([numbers, -numbers, 2 * numbers], axis=1))


def test_blocks_are_bounded_though_a_reader_gives_more(prepared):
    rows = [pq.read_metadata(path).num_rows for path in sorted(prepared.folder.glob("block-*.parquet"))]
    assert sum(rows) == 500
    assert 1 < max(rows) <= 40


def test_vectors_come_back_in_the_order_of_the_file(prepared, tmp_path):
    embed(prepared)
    assert not prepared.missing()
    write_features(prepared, tmp_path / "features", {name: {"pooling": name} for name in WIDTHS})
    for name, expected in (("cls", [[7.0]]), ("eos", [[-7.0, 14.0]])):
        table = pq.read_table(tmp_path / "features" / name)
        assert table["id"].to_pylist() == [f"P{i}" for i in range(500)]
        assert table["features"][7:8].to_pylist() == expected


def test_missing_and_foreign_vectors_are_noticed(prepared, tmp_path):
    embed(prepared)
    first, second = (part.file(prepared.folder) for part in prepared.parts[:2])
    first.unlink()
    assert prepared.missing() == [prepared.parts[0]]
    np.save(second, np.zeros((1, 1)))
    for path, message in ((second, r"an array of \(1, 1\) instead of"), (first, "cannot be read")):
        if path == first:
            embed(prepared)
            first.write_bytes(b"half")
        else:
            np.save(first, np.zeros((prepared.parts[0].stop, 3), np.float32))
        with pytest.raises(JobError, match=message):
            write_features(prepared, tmp_path / "features", {name: {} for name in WIDTHS})
        assert not (tmp_path / "features").exists()
