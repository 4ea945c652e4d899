"""HDF5 as UniProt, bio_embeddings, biotrainer and others write it, and malformed HDF5."""

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError, UsageError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


def imported(path, **choice):
    out = path.with_suffix(".parquet")
    out.unlink(missing_ok=True)
    summary = import_features(path, out, ColumnChoice(**choice))
    table = pq.read_table(out)
    return summary, table.column("id").to_pylist(), np.stack(table.column("features").to_numpy())


def test_uniprot_keys_are_accessions(path):
    with h5py.File(path, "w") as file:
        for number, accession in enumerate(["Q9Y6K9", "A0A023", "P04637"]):
            file[accession] = np.full(1024, number, np.float16)
    summary, ids, matrix = imported(path)
    assert ids == ["A0A023", "P04637", "Q9Y6K9"]
    assert matrix[:, 0].tolist() == [1, 2, 0]
    assert summary.found["order"] == "by name"


@pytest.mark.parametrize("proteins", [3, 200])
def test_the_order_of_writing_is_kept_where_the_file_keeps_it(path, proteins):
    names = [f"P{number}" for number in np.random.default_rng(0).permutation(proteins)]
    with h5py.File(path, "w", track_order=True) as file:
        for number, name in enumerate(names):
            file[name] = np.full(4, number)
    summary, ids, matrix = imported(path)
    assert ids == names
    assert matrix[:, 0].tolist() == list(range(proteins))
    assert summary.found["order"] == "as written"


def test_original_ids_are_the_ids(path):
    with h5py.File(path, "w") as file:
        for key, name in (("0", "sp|P1|A/B"), ("1", np.bytes_(b"x y"))):
            file.create_dataset(key, data=np.ones(3)).attrs["original_id"] = name
    assert imported(path)[1] == ["sp|P1|A/B", "x y"]


def test_an_id_with_a_slash_is_whole_again(path):
    with h5py.File(path, "w") as file:
        for name in ("P1/10-20", "P1/30-40", "P2"):
            file[name] = np.ones(3)
    assert imported(path)[1] == ["P1/10-20", "P1/30-40", "P2"]


def test_a_group_is_chosen(path):
    with h5py.File(path, "w") as file:
        for name in ("mean/P1", "mean/P2", "cls/P1"):
            file[name] = np.ones(3)
    assert imported(path, features_column="mean")[1] == ["P1", "P2"]


def test_a_row_for_each_protein(path):
    with h5py.File(path, "w") as file:
        file["P1"], file["P2"] = np.ones((1, 3)), np.zeros((1, 3))
    assert imported(path)[2].tolist() == [[1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("lengths", [[7], [7, 9], [1, 9]])
def test_residues_are_refused_with_what_to_do(path, lengths):
    with h5py.File(path, "w") as file:
        for number, length in enumerate(lengths):
            file[f"P{number}"] = np.ones((length, 8), np.float16)
    with pytest.raises(DataError, match=r"the shape \([79], 8\), one vector per residue.*per-protein.h5.*reduce: true"):
        imported(path)


@pytest.mark.parametrize("kind", ["S", "vlen"])
@pytest.mark.parametrize("name", ["embeddings", "reps"])
def test_a_matrix_beside_its_ids(path, kind, name):
    matrix = np.random.default_rng(0).normal(size=(30, 5))
    ids = [f"P{number}ä" for number in range(30)]
    with h5py.File(path, "w") as file:
        file.create_dataset(f"esm/{name}", data=matrix)
        text = np.array([i.encode() for i in ids]) if kind == "S" else ids
        file.create_dataset("esm/ids", data=text, dtype=None if kind == "S" else h5py.string_dtype())
        file["esm/length"] = np.arange(30)
        file["version"] = 3
    summary, found, features = imported(path)
    assert found == ids
    np.testing.assert_array_equal(features, matrix.astype(np.float32))
    assert summary.columns == ("length",)
    assert summary.found["matrix"] == f"esm/{name}"


def test_a_matrix_without_ids_has_numbered_rows(path):
    with h5py.File(path, "w") as file:
        file["emb"] = np.ones((3, 2))
    summary, ids, _ = imported(path)
    assert ids == ["0", "1", "2"]
    assert summary.found["ids"] == "row numbers"


@pytest.mark.parametrize(("chunks", "rows"), [((7, 3), 100), ((100, 1), 100), ((64, 5), 100)])
def test_any_chunks(path, chunks, rows, monkeypatch):
    monkeypatch.setattr("resvae_ray.data.features.BATCH_BYTES", 10 * 5 * 4)
    matrix = np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("emb", data=matrix, chunks=chunks, compression="gzip")
    np.testing.assert_array_equal(imported(path)[2], matrix)


def several_matrices(file):
    file["a/emb"], file["b/emb"] = np.ones((3, 2)), np.ones((3, 2))


def too_few_ids(file):
    file["emb"], file["ids"] = np.ones((3, 2)), np.array([b"a", b"b"])


def text_alone(file):
    file["ids"] = np.array([b"a", b"b"])


def two_widths(file):
    file["P1"], file["P2"] = np.ones(3), np.ones(4)


def never_filled(file):
    file["P1"] = np.ones(3)
    file.create_dataset("P2", shape=(3,), dtype="f4")


def half_filled(file):
    data_set = file.create_dataset("emb", shape=(100, 4), chunks=(10, 4), dtype="f4")
    data_set[:50] = 1


def outside(file):
    file["P1"] = h5py.ExternalLink("/etc/passwd.h5", "/x")


def alias(file):
    file["P1"], file["P2"] = np.ones(3), h5py.SoftLink("/P1")


def raw_outside(file):
    file.create_dataset("P1", shape=(3,), dtype="u1", external=[("/etc/passwd", 0, 3)])


def virtual(file):
    layout = h5py.VirtualLayout((2, 3), dtype=float)
    layout[0] = h5py.VirtualSource("other.h5", "x", (3,))
    file.create_virtual_dataset("emb", layout)


def circle(file):
    file["a/P1"] = np.ones(3)
    file["a/b"] = file["a"]


def nothing(file):
    file.create_group("proteins")


def huge(file):
    file.create_dataset("P1", shape=(1 << 40,), dtype="f4", chunks=(1 << 20,))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (several_matrices, "several matrices ('/a/emb', '/b/emb'); choose with --features-column"),
        (too_few_ids, "array 'ids' has 2 entries for 3 rows"),
        (text_alone, "data set 'ids': an array of shape (2,) and type |S1; expected one vector of numbers a protein"),
        (two_widths, "data set 'P2': a vector of 4 numbers, but 3 in those before"),
        (never_filled, "data set 'P2' has parts that were never written and would read as zeros"),
        (half_filled, "array 'emb' has parts that were never written and would read as zeros"),
        (outside, "'P1' is a link to /x, which is not followed"),
        (alias, "'P2' is a link to /P1, which is not followed"),
        (raw_outside, "data set 'P1' keeps its numbers in other files"),
        (virtual, "array 'emb' keeps its numbers in other files"),
        (circle, "group 'b' contains itself"),
        (nothing, "it holds no rows"),
        (huge, "data set 'P1': a vector of 1099511627776 numbers"),
    ],
)
def test_invalid_content_is_refused(path, write, message):
    with h5py.File(path, "w") as file:
        write(file)
    with pytest.raises(DataError) as caught:
        imported(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"features_column": "x"}, "--features-column x: not in the file; it has 'P1'"),
        ({"features_column": "P1"}, r"--features-column P1: an array of shape \(3,\)"),
        ({"id_column": "ids"}, "--id-column ids: this file holds one vector per protein"),
        ({"label_column": "l"}, "--label-column l: this file holds one vector per protein"),
        ({"prefix": "f"}, "--prefix f: it chooses in .parquet, .csv.* files alone"),
    ],
)
def test_choices_that_the_file_does_not_offer(path, choice, message):
    with h5py.File(path, "w") as file:
        file["P1"] = np.ones(3)
    with pytest.raises(UsageError, match=message):
        imported(path, **choice)


def test_tables_of_pandas_are_named(path):
    with h5py.File(path, "w") as file:
        file["df/block0_values"], file["df/axis1"] = np.ones((3, 2)), np.arange(3)
        file["df"].attrs["pandas_type"] = "frame"
    with pytest.raises(DataError, match="'df' is a table of pandas.to_hdf, which is not read; write"):
        imported(path)


@pytest.mark.parametrize("value", [["x", "y"], 1.5, h5py.Empty("f")])
def test_an_invalid_original_id_is_refused(path, value):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.ones(3)).attrs["original_id"] = value
    with pytest.raises(DataError, match="a.h5: data set 'a': original_id is .*; expected one text or whole number"):
        imported(path)


def test_an_original_id_that_is_a_number_is_its_digits(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.ones(3)).attrs["original_id"] = 7
    assert imported(path)[1] == ["7"]


def test_vectors_without_numbers_are_refused(path):
    with h5py.File(path, "w") as file:
        file["embeddings"], file["ids"] = np.ones((2, 0)), np.array(["a", "b"], "S")
    with pytest.raises(DataError, match="vectors without numbers"):
        imported(path)
