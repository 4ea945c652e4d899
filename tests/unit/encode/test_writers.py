"""LATENTS in every format of one file: what other programs read from it, and what it refuses."""

import csv
import json
import subprocess
import sys
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.schema import required_columns, vectors
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.encode.latents import Output, weights_hash
from resvae_ray.encode.writers import FORMATS, protspace_writer
from resvae_ray.encode.writers.protspace_writer import DELIMITER
from resvae_ray.encode.writers.text_writer import _quoted
from resvae_ray.errors import DataError, UsageError
from resvae_ray.model.network import ResVAE

IDS = [f"P{number:05d}" for number in range(24)] + ["sp|A/1", "=1+1", "with,comma", "ünï", ".", "x y"]
LABELS = [["a;b", "c|d", None][row % 3] for row in range(30)]
OTHERS = {
    "label": pa.array(LABELS, pa.string()),
    "length": pa.array([None if row == 4 else row for row in range(30)], pa.int32()),
    "known": pa.array([row % 2 == 0 for row in range(30)]),
    "score": pa.array([None if row == 5 else row / 4 for row in range(30)], pa.float64()),
    "day": pa.array([date(2026, 11, 1 + row % 28) for row in range(30)]),
    "_index": pa.array(range(30)),
    "place": pa.array([None if row == 2 else [row, 1.5] for row in range(30)], pa.list_(pa.float64(), 2)),
    "sequence": pa.array(["MK" * (1 + row) for row in range(30)]),
}


@pytest.fixture(autouse=True)
def quick_umap(monkeypatch):
    """UMAP would compile itself for half a minute; tests/integration/test_report.py runs it."""
    monkeypatch.setattr(protspace_writer, "umap_map", lambda z: z[:, :2])


@pytest.fixture
def features(tmp_path):
    """Two files in a folder, whose rows have every kind of column."""
    matrix = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    table = required_columns({"id": pa.array(IDS), "features": vectors(matrix)})
    for name, values in OTHERS.items():
        table = table.append_column(name, values)
    (tmp_path / "features").mkdir()
    pq.write_table(table.slice(0, 17), tmp_path / "features" / "a.parquet")
    pq.write_table(table.slice(17), tmp_path / "features" / "b.parquet")
    return tmp_path / "features"


@pytest.fixture
def expected(model, features):
    """(30, 3): the posterior means."""
    x = torch.tensor(
        np.concatenate([np.stack(pq.read_table(file)["features"].to_pylist()) for file in sorted(features.iterdir())])
    )
    with torch.inference_mode():
        return ResVAE.from_pretrained(model).encode(x.float())[0].numpy()


def cells(x, **slots):
    """Observations with names as anndata can write them."""
    obs = pd.DataFrame(index=pd.Index([f"cell {row}" for row in range(len(x))], dtype=object))
    var = pd.DataFrame(index=pd.Index([f"f{place}" for place in range(x.shape[1])], dtype=object))
    return pytest.importorskip("anndata", reason="needs anndata").AnnData(x, obs, var, **slots)


def left_in(folder):
    return {path.name for path in folder.iterdir()} - {"features", "model"}


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_of_each_format_appears_whole_and_alone(ending, model, features, tmp_path, encoded):
    target = tmp_path / f"latents{ending}"
    assert encode_features(model, features, target) == 30
    assert left_in(tmp_path) == {target.name}
    with pytest.raises(UsageError, match="already there; choose another name, or remove it first"):
        encode_features(model, features, target)


@pytest.mark.parametrize("ending", FORMATS)
def test_nothing_is_left_half_written(ending, model, features, tmp_path, encoded, monkeypatch):
    target = tmp_path / f"latents{ending}"

    def fail(parts, staging):
        staging.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setitem(FORMATS, ending, type(FORMATS[ending])(fail, any_column=True))
    with pytest.raises(OSError, match="disk full"):
        encode_features(model, features, target)
    assert left_in(tmp_path) == {f".{target.name}.parts"}
    monkeypatch.undo()


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_text_reads_back_as_it_was(ending, delimiter, model, features, tmp_path, encoded, expected):
    target = tmp_path / f"latents{ending}"
    encode_features(model, features, target, Output(recon_error=True, logvar=True))
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    assert [row["id"] for row in rows] == IDS
    assert np.array([[row[f"z{place}"] for place in range(3)] for row in rows], np.float32) == pytest.approx(expected)
    assert list(rows[0])[:8] == ["id", "z0", "z1", "z2", "logvar0", "logvar1", "logvar2", "recon_error"]
    assert [row["label"] for row in rows[:3]] == ["a;b", "c|d", ""]
    assert (rows[4]["length"], rows[6]["length"], rows[3]["day"]) == ("", "6", "2026-11-04")
    assert [row["place0"] for row in rows[:4]] == ["0", "1", "", "3"], "a vector is missing"


def test_text_is_quoted_only_where_it_must_be(model, features, tmp_path, encoded):
    encode_features(model, features, tmp_path / "latents.tsv")
    header, *lines = (tmp_path / "latents.tsv").read_text().splitlines()
    assert header.split("\t")[:4] == ["id", "z0", "z1", "z2"]
    assert [line.split("\t")[0] for line in lines] == IDS
    values = pa.array(['5"-x', "a\tb", "a\nb", "a,b", "", None, "plain"])
    assert _quoted(values, "\t").to_pylist() == ['"5""-x"', '"a\tb"', '"a\nb"', "a,b", '""', "", "plain"]
    assert _quoted(values, ",").to_pylist()[3] == '"a,b"'


def test_text_comes_in_by_import(model, features, tmp_path, encoded, expected):
    encode_features(model, features, tmp_path / "latents.csv")
    import_features(tmp_path / "latents.csv", tmp_path / "again.parquet", ColumnChoice(prefix="z"))
    again = pq.read_table(tmp_path / "again.parquet")
    assert again["id"].to_pylist() == IDS
    assert np.stack(again["features"].to_pylist()) == pytest.approx(expected)


def test_npz_is_read_without_pickles(model, features, tmp_path, encoded, expected):
    encode_features(model, features, tmp_path / "latents.npz", Output(decoded=True))
    found = np.load(tmp_path / "latents.npz", allow_pickle=False)
    assert set(found) == {"id", "z", "decoded", *OTHERS}
    assert found["id"].tolist() == IDS
    assert found["z"] == pytest.approx(expected)
    assert found["decoded"].shape == (30, 6)
    assert found["label"].tolist() == [label or "" for label in LABELS]
    assert found["length"].dtype == np.float64
    assert np.isnan(found["length"][4])
    assert found["known"].dtype == np.bool_
    assert found["day"][0] == "2026-11-01"
    assert found["place"].dtype == np.float64
    assert np.isnan(found["place"][:, 0]).tolist() == [row == 2 for row in range(30)]


def test_hdf5_has_a_data_set_per_protein(model, features, tmp_path, encoded, expected):
    import h5py

    encode_features(model, features, tmp_path / "latents.h5", Output(recon_error=True))
    with h5py.File(tmp_path / "latents.h5") as file:
        # As bio_embeddings and biotrainer read it.
        found = {file[key].attrs["original_id"]: np.array(file[key]) for key in file}
        assert "P00003" in file, "protspace takes the names"
        assert file["P00003"].attrs["label"] == "a;b"
        assert np.all(np.array(file["P00003"].attrs["recon_error"]) > 0)
        assert "label" not in file["P00002"].attrs
        assert file.attrs["weights"]
    assert list(found) == IDS
    assert np.stack(list(found.values())) == pytest.approx(expected)


def test_hdf5_comes_in_by_import(model, features, tmp_path, encoded):
    encode_features(model, features, tmp_path / "latents.h5")
    import_features(tmp_path / "latents.h5", tmp_path / "again.parquet")
    assert pq.read_table(tmp_path / "again.parquet")["id"].to_pylist() == IDS


def test_anndata_opens_latents_of_features(model, features, tmp_path, encoded, expected):
    anndata = pytest.importorskip("anndata", reason="needs anndata, of the extra `test`")
    encode_features(model, features, tmp_path / "latents.h5ad", Output(logvar=True, recon_error=True))
    found = anndata.read_h5ad(tmp_path / "latents.h5ad")
    assert found.X is None
    assert found.obs_names.tolist() == IDS
    assert found.obs["_index"].tolist() == list(range(30))
    assert found.obsm["X_resvae_place"][3].tolist() == [3.0, 1.5]
    assert found.obsm["X_resvae"] == pytest.approx(expected)
    assert found.obsm["X_resvae_logvar"].shape == (30, 3)
    assert found.obs["label"].astype(object).where(found.obs["label"].notna(), None).tolist() == LABELS
    assert found.obs["length"].isna().tolist() == [row == 4 for row in range(30)]
    assert found.obs["length"].dtype == "Int32"
    assert found.obs["known"].tolist() == OTHERS["known"].to_pylist()
    assert (found.obs["recon_error"] > 0).all()
    assert found.uns["resvae"] == {"model": str(model), "weights": weights_hash(model)}


def test_an_h5ad_file_comes_back_with_latents(model, tmp_path, encoded):
    anndata = pytest.importorskip("anndata", reason="needs anndata, of the extra `test`")
    x = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    before = cells(np.ones((20, 2), np.float32), uns={"mine": {"a": 1}}, obsm={"esm": x})
    before.obs["organism"] = pd.Categorical(pd.Series(["human", "mouse"] * 10, dtype=object))
    before.layers["raw"] = np.arange(40.0).reshape(20, 2)
    before.write_h5ad(tmp_path / "cells.h5ad")
    kept = (tmp_path / "cells.h5ad").read_bytes()
    target = tmp_path / "latents.h5ad"
    assert (
        encode_features(model, tmp_path / "cells.h5ad", target, Output(recon_error=True), features_column="esm") == 20
    )
    after = anndata.read_h5ad(target)
    with torch.inference_mode():
        expected = ResVAE.from_pretrained(model).encode(torch.tensor(x))[0].numpy()
    assert after.obsm["X_resvae"] == pytest.approx(expected)
    assert after.uns["resvae"]["weights"] == weights_hash(model)
    assert (after.obs["recon_error"] > 0).all()
    del after.obsm["X_resvae"], after.uns["resvae"], after.obs["recon_error"]
    assert after.obs.equals(anndata.read_h5ad(tmp_path / "cells.h5ad").obs)
    assert (after.X == before.X).all()
    assert (after.layers["raw"] == before.layers["raw"]).all()
    assert set(after.obsm) == {"esm"}
    assert after.uns["mine"] == {"a": 1}
    assert (tmp_path / "cells.h5ad").read_bytes() == kept
    assert {path.name for path in tmp_path.iterdir()} == {"cells.h5ad", "latents.h5ad", "model"}


def test_an_h5ad_file_can_become_text_but_no_folder(model, tmp_path, encoded):
    cells(np.ones((20, 6), np.float32) * np.arange(20)[:, None]).write_h5ad(tmp_path / "cells.h5ad")
    encode_features(model, tmp_path / "cells.h5ad", tmp_path / "latents.csv")
    assert len((tmp_path / "latents.csv").read_text().splitlines()) == 21
    with pytest.raises(UsageError, match=r"LATENTS of an .h5ad file are one file; choose a name that ends in"):
        encode_features(model, tmp_path / "cells.h5ad", tmp_path / "latents")


def test_a_damaged_h5ad_file_is_one_line(model, tmp_path, encoded):
    import h5py

    cells(np.eye(20, 6)).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        del file["uns"]
        file["uns"] = 1.0
    with pytest.raises(DataError, match=r"cells.h5ad: latents cannot be added to it: .+") as caught:
        encode_features(model, tmp_path / "cells.h5ad", tmp_path / "latents.h5ad")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "latents.h5ad").exists()


def test_latents_of_an_anndata_are_never_lost(model, tmp_path, encoded):
    x = np.random.default_rng(1).normal(size=(20, 6))
    cells(x, obsm={"X_resvae": np.ones((20, 2))}).write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(DataError, match=r"cells.h5ad: already holds obsm\['X_resvae'\]; remove it there"):
        encode_features(model, tmp_path / "cells.h5ad", tmp_path / "latents.h5ad")
    assert not (tmp_path / "latents.h5ad").exists()


@pytest.fixture
def bundle(model, features, tmp_path, encoded):
    encode_features(model, features, tmp_path / "latents.parquetbundle")
    return tmp_path / "latents.parquetbundle"


def test_a_bundle_has_annotations_and_maps(bundle, expected):
    annotations, projections, positions = (
        pq.read_table(pa.BufferReader(part)) for part in bundle.read_bytes().split(DELIMITER)
    )
    assert annotations.schema.metadata[b"protspace_format_version"] == b"2"
    assert annotations["protein_id"].to_pylist() == IDS
    assert annotations["label"].to_pylist()[:3] == ["a%3Bb", "c%7Cd", ""]
    assert "sequence" not in annotations.column_names
    assert projections["projection_name"].to_pylist() == ["UMAP_2", "PCA_2"]
    assert json.loads(projections["info_json"][0].as_py())["n_neighbors"] == 15
    assert positions["identifier"].to_pylist() == IDS * 2
    first = np.array(positions["x"].to_pylist()[30:])
    axis = np.linalg.svd(expected - expected.mean(0), full_matrices=False)[2][0]
    assert first == pytest.approx((expected - expected.mean(0)) @ axis, abs=1e-5)


def test_protspace_opens_a_bundle(bundle, tmp_path):
    pytest.importorskip("protspace", reason="needs protspace")
    code = """
import sys
from pathlib import Path
from protspace.data.annotations.encoding import to_display_value
from protspace.data.io.bundle import extract_bundle_to_dir
from protspace.utils.arrow_reader import ArrowReader
reader = ArrowReader(Path(extract_bundle_to_dir(Path(sys.argv[1]), Path(sys.argv[2]))))
print(len(reader.get_protein_ids()), reader.get_projection_names(), reader.get_format_version())
print(to_display_value(reader.get_protein_annotations("P00000")["label"]))
"""
    command = [sys.executable, "-c", code, str(bundle), str(tmp_path / "opened")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["30 ['UMAP_2', 'PCA_2'] 2", "a;b"]


@pytest.mark.parametrize("ending", [".h5", ".parquetbundle"])
def test_further_vectors_are_refused_where_they_have_no_place(ending, model, features, tmp_path, encoded):
    with pytest.raises(UsageError, match=f"a {ending} file holds one vector per protein, so 'logvar' has no place"):
        encode_features(model, features, tmp_path / f"latents{ending}", Output(logvar=True))
    assert left_in(tmp_path) == set()
    assert encoded == []


@pytest.mark.parametrize("ending", [".csv", ".npz", ".h5ad"])
def test_columns_without_a_place_are_refused_before_encoding(ending, model, tmp_path, features, encoded):
    table = pq.read_table(features / "a.parquet").append_column("places", pa.array([[1, 2]] * 17))
    (features / "b.parquet").unlink()
    pq.write_table(table, features / "a.parquet")
    with pytest.raises(DataError, match=f"column 'places' of the features holds .*, which a {ending} file cannot hold"):
        encode_features(model, features, tmp_path / f"latents{ending}")
    assert encoded == []


def test_a_name_that_h5ad_cannot_have_is_refused(model, tmp_path, features, encoded):
    table = pq.read_table(features / "a.parquet").append_column("a/b", pa.array([1] * 17))
    (features / "b.parquet").unlink()
    pq.write_table(table, features / "a.parquet")
    with pytest.raises(DataError, match="column 'a/b' of the features: names in .h5ad have no '/'; rename it"):
        encode_features(model, features, tmp_path / "latents.h5ad")


def test_a_number_column_that_is_there_already_is_refused(model, tmp_path, features, encoded):
    table = pq.read_table(features / "a.parquet").append_column("z1", pa.array([1] * 17))
    (features / "b.parquet").unlink()
    pq.write_table(table, features / "a.parquet")
    with pytest.raises(DataError, match="the features have a column 'z1', which the latents need for themselves"):
        encode_features(model, features, tmp_path / "latents.csv")
    assert not (tmp_path / "latents.csv").exists()


def test_a_matrix_is_chosen_in_an_h5ad_file_alone(model, features, tmp_path, encoded):
    with pytest.raises(UsageError, match="--features-column esm: it chooses a matrix of an .h5ad file"):
        encode_features(model, features, tmp_path / "latents.csv", features_column="esm")
