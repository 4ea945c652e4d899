"""H5AD as anndata writes it."""

import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError, UsageError
from tests.formats import write_h5ad

IDS = ["P1", "P2", "P3"]


@pytest.fixture
def write(tmp_path):
    def write(X=None, columns=None, **slots):
        obs = pd.DataFrame(columns or {}, index=pd.Index(IDS, dtype=object))
        var = pd.DataFrame(index=pd.Index([f"f{n}" for n in range(0 if X is None else X.shape[1])], dtype=object))
        anndata.AnnData(X=X, obs=obs, var=var, **slots).write_h5ad(tmp_path / "a.h5ad")
        return tmp_path / "a.h5ad"

    return write


def imported(path, **choice):
    out = path.with_suffix(".parquet")
    out.unlink(missing_ok=True)
    summary = import_features(path, out, ColumnChoice(**choice))
    table = pq.read_table(out)
    return summary, table, np.stack(table.column("features").to_numpy())


def texts(*values):
    return pd.Series(values, index=pd.Index(IDS, dtype=object), dtype=object)


def test_columns_of_obs_pass_through(write):
    columns = {
        "label": pd.Categorical(texts("nucleus", None, "cytosol")),
        "organism": texts("human", "mouse", "human"),
        "length": [10, 20, 30],
        "reviewed": [True, False, True],
        "mass": pd.array([1, None, 3], dtype="Int64"),
        "folded": pd.array([True, None, False], dtype="boolean"),
        "score": [0.5, 1.5, 2.5],
    }
    summary, table, matrix = imported(write(np.eye(3), columns))
    assert summary.label
    assert table.drop_columns(["features"]).to_pydict() == {
        "id": IDS,
        "label": ["nucleus", None, "cytosol"],
        "organism": ["human", "mouse", "human"],
        "length": [10, 20, 30],
        "reviewed": [True, False, True],
        "mass": [1, None, 3],
        "folded": [True, None, False],
        "score": [0.5, 1.5, 2.5],
    }
    np.testing.assert_array_equal(matrix, np.eye(3))


def test_x_is_read_unless_a_matrix_of_obsm_is_chosen(write):
    path = write(np.eye(3), obsm={"X_esm2": np.full((3, 5), 7.0)})
    assert imported(path)[0].found["matrix"] == "X"
    for name in ("X_esm2", "obsm/X_esm2"):
        summary, _, matrix = imported(path, features_column=name)
        assert summary.found["matrix"] == "obsm/X_esm2"
        assert matrix.tolist() == [[7] * 5] * 3
    with pytest.raises(UsageError, match=r"--features-column umap: no such matrix; there are 'X', 'obsm/X_esm2'"):
        imported(path, features_column="umap")


def test_without_x_the_only_matrix_of_obsm_is_read(write):
    assert imported(write(obsm={"esm": np.ones((3, 2))}))[0].found["matrix"] == "obsm/esm"
    path = write(obsm={"esm": np.ones((3, 2)), "t5": np.ones((3, 2))})
    with pytest.raises(DataError, match=r"no X, and several matrices \('obsm/esm', 'obsm/t5'\); choose with"):
        imported(path)
    with pytest.raises(DataError, match="neither X nor a matrix in obsm; it holds"):
        imported(write())


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, scipy.sparse.csr_array])
def test_sparse_matrices(write, kind, monkeypatch):
    monkeypatch.setattr("resvae_ray.data.features.BATCH_BYTES", 2 * 4 * 4)
    matrix = np.array([[0, 1.5, 0, 0], [0, 0, 0, 0], [2, 0, 0, -3]])
    np.testing.assert_array_equal(imported(write(kind(matrix)))[2], matrix)
    np.testing.assert_array_equal(imported(write(obsm={"e": kind(matrix)}))[2], matrix)


def test_entries_that_stand_twice_are_added(write):
    path = write(scipy.sparse.csr_matrix((np.ones(3), [1, 1, 0], [0, 2, 2, 3]), shape=(3, 2)))
    assert imported(path)[2].tolist() == [[0, 2], [0, 0], [1, 0]]


def test_ids_from_a_column_of_obs(write):
    columns = {"accession": texts("A", "B", "C"), "label": texts("x", "y", "z")}
    _, table, _ = imported(write(np.eye(3), columns), id_column="accession")
    assert table.column("id").to_pylist() == ["A", "B", "C"]
    assert table.column("_index").to_pylist() == IDS
    with pytest.raises(UsageError, match="--label-column place: no such"):
        imported(write(np.eye(3), columns), label_column="place")


def test_a_column_in_the_place_of_the_ids_is_refused(write):
    with pytest.raises(DataError, match="'id' is neither the id, the label nor the features"):
        imported(write(np.eye(3), {"id": texts("A", "B", "C")}))


def test_a_data_frame_in_obsm_is_refused_with_what_to_do(write):
    path = write(obsm={"e": pd.DataFrame({"a": [1.0, 2, 3]}, index=pd.Index(IDS, dtype=object))})
    with pytest.raises(DataError, match=r"obsm/e is a DataFrame; expected a matrix: set adata.obsm\[KEY\]"):
        imported(path)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("X/indices", 9, "an entry outside the matrix"),
        ("X/indptr", 9, "the row pointers do not fit"),
        ("obs/label/codes", 9, "obs column 'label': a category that it does not have"),
    ],
)
def test_damage_is_named(write, part, value, message):
    path = write(scipy.sparse.csr_matrix(np.eye(3)), {"label": pd.Categorical(texts("x", "y", "z"))})
    with h5py.File(path, "r+") as file:
        file[part][1] = value
    with pytest.raises(DataError, match=f"{message}.*damaged"):
        imported(path)


@pytest.mark.parametrize("place", ["X", "obs", "obs/label", "obsm/e"])
def test_links_are_not_followed(write, place):
    path = write(np.eye(3), {"label": texts("x", "y", "z")}, obsm={"e": np.eye(3)})
    with h5py.File(path, "r+") as file:
        del file[place]
        file[place] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(DataError, match="is a link to /x, which is not followed"):
        imported(path, features_column="obsm/e" if place == "obsm/e" else None)


def test_old_and_other_files_are_named(write, tmp_path):
    path = write(np.eye(3))
    with h5py.File(path, "r+") as file:
        del file["X"].attrs["encoding-type"]
    with pytest.raises(DataError, match="X is written as 'unknown'.*older than anndata 0.8; write it anew"):
        imported(path)
    with h5py.File(tmp_path / "b.h5ad", "w") as file:
        file["X"] = np.eye(3)
    with pytest.raises(DataError, match="no table obs with the names of the observations; is it an H5AD file"):
        imported(tmp_path / "b.h5ad")


def test_the_error_names_the_package_to_install(write, monkeypatch):
    path = write(np.eye(3))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        UsageError, match=r"a.h5ad: reading it needs h5py; get it in the checkout with: pip install .*\[import\]"
    ):
        imported(path)


@pytest.mark.parametrize("rows", [2, 4])
def test_a_matrix_with_fewer_or_more_rows_than_obs_is_refused(write, rows):
    path = write(np.eye(3, dtype=np.float32))
    with h5py.File(path, "r+") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file["X"] = np.ones((rows, 3), np.float32)
        file["X"].attrs.update(attributes)
    with pytest.raises(DataError, match="X has 2 rows, but obs has more|obs has fewer rows than X"):
        imported(path)
    assert not path.with_suffix(".parquet").exists()


def test_vectors_without_numbers_are_refused(write):
    with pytest.raises(DataError, match="a.h5ad: vectors without numbers"):
        imported(write(obsm={"X_none": np.ones((3, 0), np.float32)}))


@pytest.mark.parametrize("empty", [np.zeros((6, 0), np.float32), scipy.sparse.csr_matrix((6, 0), dtype=np.float32)])
def test_an_x_without_columns_is_none(tmp_path, empty):
    matrix = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    ids = [f"P{n}" for n in range(6)]
    write_h5ad(tmp_path / "a.h5ad", matrix, ids, ids, X=empty, obsm={"X_esm": matrix})
    summary = import_features(tmp_path / "a.h5ad", tmp_path / "a.parquet")
    assert (summary.found["matrix"], summary.dim) == ("obsm/X_esm", 3)
    write_h5ad(tmp_path / "b.h5ad", matrix, ids, ids, X=empty)
    with pytest.raises(DataError, match="vectors without numbers"):
        import_features(tmp_path / "b.h5ad", tmp_path / "b.parquet")
