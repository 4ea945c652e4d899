"""Blocks and parts: all proteins in bounded pieces, and back in their order."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from resvae_ray.data import features_writer
from resvae_ray.data.proteins import ProteinChoice
from resvae_ray.embed import work
from resvae_ray.embed.settings import Embedding
from resvae_ray.embed.work import features_files, prepare, read_part, write_features, write_file
from resvae_ray.errors import DataError, JobError
from resvae_ray.files.place import place

WIDTHS = {"cls": 1, "eos": 2}


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """500 proteins, the length of each its number's remainder, with its number as its vector."""
    monkeypatch.setattr(work, "BLOCK_BYTES", 12 * 40)
    path, folder = tmp_path / "p.fasta", place(tmp_path / "work")
    path.write_text("".join(f">P{i}\n{'M' * (1 + i * 7 % 31)}\n" for i in range(500)))
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
    write_features(prepared, place(tmp_path / "features"), {name: {"pooling": name} for name in WIDTHS})
    for name, expected in (("cls", [[7.0]]), ("eos", [[-7.0, 14.0]])):
        table = pq.read_table(tmp_path / "features" / name)
        assert table["id"].to_pylist() == [f"P{i}" for i in range(500)]
        assert table["features"][7:8].to_pylist() == expected


def test_files_made_one_by_one_are_those_of_the_folder(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(features_writer, "ROW_GROUP_BYTES", 4 * 30)
    monkeypatch.setattr(features_writer, "FILE_BYTES", 4 * 70)
    embed(prepared)
    provenance, made = {name: {"pooling": name} for name in WIDTHS}, place(tmp_path / "made")
    write_features(prepared, place(tmp_path / "folder"), provenance)
    files = features_files(prepared)
    assert [write_file(file, prepared, made, provenance) for file in files] == [file.rows for file in files]
    assert made.file_names() == place(tmp_path / "folder").file_names() == {file.output for file in files}
    assert len(files) > 10
    for file in files:
        assert (made / file.output).read_bytes() == (tmp_path / "folder" / file.output).read_bytes()


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
            write_features(prepared, place(tmp_path / "features"), {name: {} for name in WIDTHS})
        assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    ("long", "read", "siteless", "cut"), [("truncate", [[2], [], []], 2, 3), ("split", None, 1, 0)]
)
def test_sites_beyond_the_cut_are_left_out_and_counted(long, read, siteless, cut, tmp_path):
    (tmp_path / "p.fasta").write_text(">A\nMSTAYSTAY\n>B\nMKTAYSTAYS\n>C\nMK\n")
    (tmp_path / "sites.csv").write_text("id,position\nA,9\nA,2\nB,6\nB,10\n")
    settings = Embedding(pooling="pho", max_length=5, long=long)
    sites = str(tmp_path / "sites.csv")
    done = prepare(
        place(tmp_path / "work"), str(tmp_path / "p.fasta"), ProteinChoice(), sites, settings, {"pho": 1}, 50
    )
    (part,) = done.parts
    ids, _, places = read_part(done.folder, part)
    assert dict(zip(ids, places, strict=True)) == dict(zip("ABC", read or [[2, 9], [6, 10], []], strict=True))
    assert (done.siteless, done.sites_cut, done.cut) == (siteless, cut, 2)


def test_a_site_beyond_the_end_is_refused_though_it_would_be_cut(tmp_path):
    (tmp_path / "p.fasta").write_text(">A\nMSTAYSTAY\n")
    (tmp_path / "sites.csv").write_text("id,position\nA,10\n")
    settings, sites = Embedding(pooling="pho", max_length=5, long="truncate"), str(tmp_path / "sites.csv")
    with pytest.raises(DataError, match="position 10, but the sequence has 9 residues"):
        prepare(place(tmp_path), str(tmp_path / "p.fasta"), ProteinChoice(), sites, settings, {"pho": 1}, 50)


def test_a_column_of_sites_passes_through(tmp_path):
    (tmp_path / "p.csv").write_text("id,sequence,sites\nA,MKT,none\n")
    prepare(place(tmp_path), str(tmp_path / "p.csv"), ProteinChoice(), None, Embedding(), WIDTHS, 50)
    assert pq.read_table(next(tmp_path.glob("block-*.parquet")))["sites"].to_pylist() == ["none"]
    (tmp_path / "p.csv").write_text("id,sequence,_sites\nA,MKT,none\n")
    with pytest.raises(DataError, match="p.csv: a column '_sites' cannot pass through; rename it"):
        prepare(place(tmp_path), str(tmp_path / "p.csv"), ProteinChoice(), None, Embedding(), WIDTHS, 50)
