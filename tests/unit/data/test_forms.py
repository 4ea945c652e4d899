"""Every cell of the table in docs/guide/formats.md: each form of features in each container."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError, UsageError
from tests.formats import write_h5ad

N, D = 11, 4
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
IDS = [f"P{10000 + n}" for n in range(N)]
NUMBERS = [str(n) for n in range(N)]
LEVELS = [f"{level}/{name}" for level in ("mean", "cls") for name in IDS]
DOCS = Path(__file__).resolve().parents[3] / "docs" / "guide" / "formats.md"
MATRIX = "a matrix, or a column per feature, with ids"
BARE, ROWS, UNKNOWN = "the same without ids", "row numbers 0 … n-1 as ids", "ids under an unknown name"
SINGLE, KEYS = "one array per protein", "one array per protein, numbered"
ONE_BY_D, LAYERS, RESIDUES = "(1, D) instead of D", "layers or poolings of each protein", "a vector per residue"
TEXT, CUT, EMPTY = "vectors as text", "text that was cut, or leaves numbers out", "no numbers in the vectors"
WITH_IDS = {MATRIX: {"id": IDS}, BARE: {}, ROWS: {"id": list(range(N))}, UNKNOWN: {"what": IDS}}


def per_protein(form) -> dict[str, Any]:
    """Arrays by the names of the proteins."""
    names = {KEYS: NUMBERS}.get(form, IDS)
    arrays = dict(zip(names, X, strict=True))
    if form == LAYERS:
        return {path: X[IDS.index(path.split("/")[1])] for path in LEVELS}
    if form == ONE_BY_D:
        return {name: vector[None] for name, vector in arrays.items()}
    if form == RESIDUES:
        return {name: np.stack([vector] * (3 + n)) for n, (name, vector) in enumerate(arrays.items())}
    if form == EMPTY:
        return {name: vector[:0] for name, vector in arrays.items()}
    return arrays


def texts(form):
    if form == ONE_BY_D:
        return [str(x[None].tolist()) for x in X]
    if form == RESIDUES:
        return [str([x.tolist()] * 3) for x in X]
    if form == CUT:
        return [str(x.tolist())[:-9] for x in X]
    return [re.sub(r"\s+", " ", str(x.tolist())) for x in X]


def table(form):
    """The columns of a table of text."""
    if form in WITH_IDS:
        return WITH_IDS[form] | {f"f{n}": X[:, n] for n in range(D)}
    if form == LAYERS:
        return {"id": IDS} | {f"{level}{n}": X[:, n] for level in ("mean", "cls") for n in range(D)}
    return {"id": IDS, "embedding": texts(form)}


def parquet(path, form):
    vectors = {ONE_BY_D: [[x.tolist()] for x in X], RESIDUES: [[x.tolist()] * 3 for x in X]}
    if form in (TEXT, CUT):
        columns = table(form)
    elif form in WITH_IDS:
        columns = WITH_IDS[form] | {"embedding": X.tolist()}
    elif form == LAYERS:
        columns = {"id": IDS, "mean": X.tolist(), "cls": (2 * X).tolist()}
    elif form == EMPTY:
        columns = {"id": IDS, "embedding": pa.array([[]] * N, pa.list_(pa.float32()))}
    else:
        columns = {"id": IDS, "embedding": vectors.get(form, X.tolist())}
    pq.write_table(pa.table(columns), path)


def csv(path, form):
    pd.DataFrame(table(form)).to_csv(path, index=False)


def xlsx(path, form):
    workbook, columns = openpyxl.Workbook(), table(form)
    sheet = workbook.worksheets[0]
    sheet.append(list(columns))
    for row in zip(*(list(values) for values in columns.values()), strict=True):
        sheet.append([float(cell) if isinstance(cell, np.floating) else cell for cell in row])
    workbook.save(path)


def npz(path, form):
    if form in WITH_IDS:
        ids: dict[str, Any] = {name: np.array(values) for name, values in WITH_IDS[form].items()}
        np.savez(path, embeddings=X, **ids)
    elif form == KEYS:
        np.savez(path, *X)
    else:
        np.savez(path, **per_protein(form))


def npy(path, form):
    np.save(path, {ONE_BY_D: X[:, None], RESIDUES: np.stack([X] * 3, 1), EMPTY: X[:, :0]}.get(form, X))


def hdf5(path, form):
    with h5py.File(path, "w") as file:
        if form in WITH_IDS:
            file["embeddings"] = X
            for name, values in WITH_IDS[form].items():
                file[name] = np.array(values, "S") if isinstance(values[0], str) else values
        else:
            for name, array in per_protein(form).items():
                file[name] = array


def h5ad(path, form):
    names = {ROWS: NUMBERS, UNKNOWN: NUMBERS}.get(form, IDS)
    write_h5ad(path, X, names, IDS if form == UNKNOWN else ["x"] * N, X=X[:, :0] if form == EMPTY else X)
    if form == UNKNOWN:
        with h5py.File(path, "a") as file:
            file.move("obs/label", "obs/what")
            file["obs"].attrs["column-order"] = ["what"]


def pt(path, form):
    if form in WITH_IDS:
        ids = {
            name: values if isinstance(values[0], str) else torch.tensor(values)
            for name, values in WITH_IDS[form].items()
        }
        torch.save({"embeddings": torch.tensor(X), **ids} if ids else torch.tensor(X), path)
        return
    nested: dict = {}
    for name, array in per_protein(form).items():
        *groups, leaf = name.split("/")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = torch.tensor(array)
    torch.save(nested, path)


def pt_folder(path, form):
    for name, array in per_protein(form).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.tensor(array), path / f"{name}.pt")


def npy_folder(path, form):
    for name, array in per_protein(form).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(path / f"{name}.npy", array)


WRITERS = {
    "Parquet": ("a.parquet", parquet),
    "CSV": ("a.csv", csv),
    "XLSX": ("a.xlsx", xlsx),
    "NPZ": ("a.npz", npz),
    "NPY": ("a.npy", npy),
    "HDF5": ("a.h5", hdf5),
    "H5AD": ("a.h5ad", h5ad),
    ".pt": ("a.pt", pt),
    ".pt folder": ("folder", pt_folder),
    ".npy folder": ("folder", npy_folder),
}


def cells():
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for row in rows[: next(n for n, row in enumerate(rows) if row[0] == "form")]:
        yield from ((row[0], name, answer) for name, answer in zip(header[1:], row[1:], strict=True) if answer != "–")


def imported(path, **choice):
    out = path.with_name("out.parquet")
    summary = import_features(path, out, ColumnChoice(**choice))
    read = pq.read_table(out)
    out.unlink()
    return read["id"].to_pylist(), np.stack(read["features"].to_numpy()), summary.found.get("ids")


@pytest.mark.parametrize(("form", "container", "answer"), list(cells()))
def test_a_form_in_a_container(form, container, answer, tmp_path):
    name, write = WRITERS[container]
    write(tmp_path / name, form)
    if answer == "named":
        with pytest.raises(DataError, match="residue|within the vector|without numbers|a vector of 0 numbers"):
            imported(tmp_path / name)
        return
    choice = {}
    if answer == "asked":
        with pytest.raises((DataError, UsageError), match="--id-column|--features-column|--prefix"):
            imported(tmp_path / name)
        choice = {"id_column": "what"} if form == UNKNOWN else {"features_column": "mean"}
        choice = {"prefix": "mean"} if form == LAYERS and container == "CSV" else choice
    ids, matrix, of_ids = imported(tmp_path / name, **choice)
    numbered = answer == "numbered" or container == "NPY"
    assert (ids, of_ids) == ((NUMBERS, "row numbers") if numbered else (IDS, None))
    np.testing.assert_allclose(matrix, X, rtol=1e-6)


def test_a_matrix_beside_its_ids_in_a_folder_is_not_a_protein(tmp_path):
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "embeddings.npy", X)
    np.save(tmp_path / "folder" / "other.npy", X)
    with pytest.raises(DataError, match=r"embeddings.npy is not called like a protein; .* import the matrix"):
        imported(tmp_path / "folder")


def test_a_damaged_file_of_a_folder_is_named(tmp_path):
    npy_folder(tmp_path / "folder", SINGLE)
    (tmp_path / "folder" / f"{IDS[3]}.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=rf"{IDS[3]}.npy: not a (readable NumPy file|NumPy array)"):
        imported(tmp_path / "folder")


@pytest.mark.parametrize(
    "text",
    [
        "[0.5, -1e-3, 2]",
        "[0.5;-1e-3;2]",
        "[ 0.5  -1e-3\n  2. ]",
        "[[0.5, -1e-3, 2]]",
        "tensor([0.5, -1e-3, 2])",
        "tensor([[0.5, -1e-3, 2.]], device='cuda:0', dtype=torch.float16)",
        "array([0.5, -1e-3, 2], dtype=float32)",
        "(0.5, -1e-3, 2)",
        "{0.5,-1e-3,2}",
        "0.5 -1e-3 2",
        "0.5;-1e-3;2",
        "0.5,-1e-3,2",
        "0.5|-1e-3|2",
        "[np.float32(0.5), np.float32(-0.001), np.float32(2.0)]",
    ],
)
@pytest.mark.parametrize("container", ["CSV", "Parquet", "XLSX"])
def test_vectors_as_text(text, container, tmp_path):
    name = WRITERS[container][0]
    if container == "Parquet":
        pq.write_table(pa.table({"id": ["a", "b"], "values": pa.array([text] * 2, pa.string_view())}), tmp_path / name)
    elif container == "CSV":
        pd.DataFrame({"id": ["a", "b"], "values": [text] * 2}).to_csv(tmp_path / name, index=False)
    else:
        workbook = openpyxl.Workbook()
        for row in (["id", "values"], ["a", text], ["b", text]):
            workbook.worksheets[0].append(row)
        workbook.save(tmp_path / name)
    bare = text[0] not in "[(t{a"
    if bare:
        with pytest.raises(DataError, match="no column of vectors|holds string"):
            imported(tmp_path / name)
    matrix = imported(tmp_path / name, **({"features_column": "values"} if bare else {}))[1]
    np.testing.assert_allclose(matrix, [[0.5, -1e-3, 2]] * 2, rtol=1e-6)


@pytest.mark.parametrize("separator", [" ", ",", ";", "|", ", "])
@pytest.mark.parametrize(("name", "repeats"), [("embedding", 1), ("what", 3)])
def test_numbers_without_brackets(separator, name, repeats, tmp_path):
    text = separator.join(["0.5", "-1e-3", "2"] * repeats)
    pd.DataFrame({"id": ["a", "b"], name: [text] * 2}).to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_allclose(imported(tmp_path / "a.csv")[1], [[0.5, -1e-3, 2] * repeats] * 2, rtol=1e-6)


@pytest.mark.parametrize("container", ["Parquet", "CSV", "XLSX"])
def test_positions_beside_numbered_columns_are_no_vectors(container, tmp_path):
    name, _ = WRITERS[container]
    frame = pd.DataFrame({"id": IDS, "sites": ["[1, 2]"] * N} | {f"f{n}": X[:, n] for n in range(D)})
    writers = {"Parquet": frame.to_parquet, "CSV": frame.to_csv, "XLSX": frame.to_excel}
    writers[container](tmp_path / name, index=False)
    np.testing.assert_allclose(imported(tmp_path / name)[1], X, rtol=1e-6)


@pytest.mark.parametrize("container", ["Parquet", "CSV", "XLSX"])
def test_a_table_with_proteins_as_columns_is_named(container, tmp_path):
    name, _ = WRITERS[container]
    frame = pd.DataFrame(dict(zip(IDS, X, strict=True)))
    writers = {"Parquet": frame.to_parquet, "CSV": frame.to_csv, "XLSX": frame.to_excel}
    writers[container](tmp_path / name)
    with pytest.raises(DataError, match="the columns are called by proteins .* transpose the table"):
        imported(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[0.1 0.2 ... 0.3]", r"row 2, column embedding: the text leaves numbers out \('...'\)"),
        ("[0.1, 0.2", "row 2, column embedding: the text ends after 9 characters, within the vector"),
        ("[0.1, x]", "row 2, column embedding: 'x' is not a number"),
        ("[[0.1, 0.2], [0.1, 0.2]]", "row 2, column embedding: a vector per residue"),
        ("", "row 2, column embedding: the vector is missing"),
        ("[]", "row 2, column embedding: .*not a number|0 numbers"),
        ("[0.1]", "row 2, column embedding: 1 numbers, but 2 in row 1"),
        ("[0.1, nan]", r"row 2 \(id b\), column features\[1\]: nan"),
    ],
)
def test_mistakes_in_vectors_as_text(text, message, tmp_path):
    pd.DataFrame({"id": ["a", "b"], "embedding": ["[0.1, 0.2]", text]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=message):
        imported(tmp_path / "a.csv")


def test_text_that_is_longer_than_the_csv_module_takes(tmp_path):
    vector = np.linspace(0, 1, 9000)
    pd.DataFrame({"id": ["a", "b"], "embedding": [str(vector.tolist())] * 2}).to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_allclose(imported(tmp_path / "a.csv")[1], [vector] * 2, rtol=1e-6)


def test_vectors_of_spark(tmp_path):
    kind = pa.struct(
        [
            ("type", pa.int8()),
            ("size", pa.int32()),
            ("indices", pa.list_(pa.int32())),
            ("values", pa.list_(pa.float64())),
        ]
    )
    dense = [{"type": 1, "size": None, "indices": None, "values": x.tolist()} for x in X]
    sparse = {"type": 0, "size": D, "indices": [1, 3], "values": [0.5, 2.0]}
    for rows, expected in ((dense, X), ([*dense[:-1], sparse], np.vstack([X[:-1], [[0, 0.5, 0, 2]]]))):
        pq.write_table(pa.table({"id": IDS, "features": pa.array(rows, kind)}), tmp_path / "a.parquet")
        np.testing.assert_allclose(imported(tmp_path / "a.parquet")[1], expected, rtol=1e-6)


def test_several_labels_of_a_protein_become_text(tmp_path):
    pq.write_table(pa.table({"id": IDS, "vectors": X.tolist(), "label": [[0, 1]] * N}), tmp_path / "a.parquet")
    import_features(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet")["label"].to_pylist() == ["[0, 1]"] * N


@pytest.mark.parametrize("shape", [(3, D), (1, D)])
def test_a_tensor_per_protein_in_parquet(shape, tmp_path):
    kind = pa.fixed_shape_tensor(pa.float32(), shape)
    values = np.tile(X[:, None], (1, shape[0], 1)).reshape(-1)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(values), shape[0] * D)
    column = pa.ExtensionArray.from_storage(kind, storage)
    pq.write_table(pa.table({"id": IDS, "features": column}), tmp_path / "a.parquet")
    if shape[0] == 1:
        np.testing.assert_array_equal(imported(tmp_path / "a.parquet")[1], X)
        return
    with pytest.raises(DataError, match="3 x 4 numbers, a vector per residue"):
        imported(tmp_path / "a.parquet")


def test_bytes_in_the_place_of_vectors_are_named(tmp_path):
    pq.write_table(pa.table({"id": IDS, "embedding": [x.tobytes() for x in X]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column 'embedding' holds binary; expected lists of numbers"):
        imported(tmp_path / "a.parquet")
