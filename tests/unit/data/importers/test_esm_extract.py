"""Folders of .pt files as fair-esm's scripts/extract.py writes them."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError, UsageError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "esm2"


def extract(folder, labels, include=("mean",), layers=(33,), dim=4, length=6):
    """The files of extract.py, with numbers drawn in the place of ESM's."""
    tokens = {layer: torch.randn(len(labels), length + 2, dim) for layer in layers}
    for i, label in enumerate(labels):
        file = folder / f"{label}.pt"
        file.parent.mkdir(parents=True, exist_ok=True)
        result = {"label": label}
        if "per_tok" in include:
            result["representations"] = {layer: t[i, 1 : length + 1].clone() for layer, t in tokens.items()}
        if "mean" in include:
            result["mean_representations"] = {
                layer: t[i, 1 : length + 1].mean(0).clone() for layer, t in tokens.items()
            }
        if "bos" in include:
            result["bos_representations"] = {layer: t[i, 0].clone() for layer, t in tokens.items()}
        torch.save(result, file)
    return {layer: t.numpy() for layer, t in tokens.items()}


def imported(folder, **choice):
    out = folder.with_suffix(".parquet")
    out.unlink(missing_ok=True)
    summary = import_features(folder, out, ColumnChoice(**choice))
    table = pq.read_table(out)
    return summary, table.column("id").to_pylist(), np.stack(table.column("features").to_numpy())


def test_labels_are_ids_also_with_slashes_and_in_hiding(folder):
    labels = [".hidden", "_under", "a/b/c", "sp|P04637|P53_HUMAN Cellular tumor antigen OS=Homo sapiens", "z"]
    tokens = extract(folder, labels)
    summary, ids, matrix = imported(folder)
    assert ids == labels
    np.testing.assert_array_equal(matrix, torch.from_numpy(tokens[33])[:, 1:7].mean(1).numpy())
    assert dict(summary.found) == {"layer": "33", "pooling": "mean"}


def test_a_layer_is_asked_for_where_there_are_several(folder):
    tokens = extract(folder, ["a", "b"], layers=(0, 32, 33))
    with pytest.raises(UsageError, match="mean_representations of the layers 0, 32, 33; choose with --layer"):
        imported(folder)
    summary, _, matrix = imported(folder, layer=0)
    assert summary.found["layer"] == "0"
    np.testing.assert_allclose(matrix, tokens[0][:, 1:7].mean(1), rtol=1e-5)
    with pytest.raises(UsageError, match=r"--layer 12: no such layer in mean_representations; there are 0, 32, 33"):
        imported(folder, layer=12)


def test_mean_or_first_token_is_asked_for_where_there_are_both(folder):
    tokens = extract(folder, ["a", "b"], include=("per_tok", "mean", "bos"))
    with pytest.raises(UsageError, match="mean_representations and bos_representations; choose one with"):
        imported(folder)
    summary, _, matrix = imported(folder, features_column="bos_representations")
    assert dict(summary.found) == {"layer": "33", "pooling": "cls"}
    np.testing.assert_array_equal(matrix, tokens[33][:, 0])


def test_residues_alone_are_refused_with_what_to_do(folder):
    extract(folder, ["a"], include=("per_tok",))
    with pytest.raises(DataError, match="no vector a protein, it has 'label', 'representations';.*--include mean"):
        imported(folder)


def test_half_precision(folder):
    folder.mkdir()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        torch.save(
            {"label": str(dtype), "mean_representations": {6: torch.full((2,), 0.5, dtype=dtype)}},
            folder / f"{dtype}.pt",
        )
    assert imported(folder)[2].tolist() == [[0.5, 0.5]] * 3


def test_a_glob_and_one_file(folder):
    extract(folder, ["a1", "a2", "b1"])
    summary = import_features(f"{folder}/a*.pt", folder / "out.parquet")
    assert summary.rows == 2
    assert import_features(folder / "b1.pt", folder / "one.parquet").rows == 1


class Hostile:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return open, (str(self.proof), "w")


def test_code_in_a_file_is_not_run(folder, tmp_path):
    folder.mkdir()
    torch.save({"label": "a", "mean_representations": {33: Hostile(tmp_path / "proof")}}, folder / "a.pt")
    with pytest.raises(DataError, match="a.pt: not a readable file of tensors alone, and nothing else is loaded"):
        imported(folder)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (np.zeros((2, 3)), "it holds a NumPy array; save arrays as .npy, .npz or tensors"),
        ({"P1": np.float64(1)}, "it holds single values of NumPy"),
        (pd.DataFrame({"a": [1]}), "a pandas.DataFrame; save its numbers as tensors"),
    ],
)
def test_what_a_file_holds_instead_of_tensors_is_named_in_one_line(tmp_path, content, what):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=what) as caught:
        imported(tmp_path / "a.pt")
    assert not {"\n", "\x1b"} & {*str(caught.value)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mean_representations": {33: torch.ones(2)}}, "no label; expected a file that esm-extract wrote"),
        (torch.ones(3), "no label"),
        (
            {"label": "x", "mean_representations": {33: torch.ones(3, 2)}},
            "a tensor of shape .3, 2. and type torch.float32; expected one",
        ),
        ({"label": "x", "mean_representations": {33: [1.0, 2.0]}}, "is list; expected one vector"),
        (
            {"label": "x", "mean_representations": {33: torch.ones(1).expand(1 << 40)}},
            "shape .1099511627776,.",
        ),
        ({"label": "x", "mean_representations": {33: torch.ones(2, device="meta")}}, "expected one vector"),
        ({"label": "x", "mean_representations": {32: torch.ones(2)}}, "no layer 33 in mean_representations"),
        (
            {"label": "x", "mean_representations": {33: torch.ones(5)}},
            "5 numbers, but 4 in the files before",
        ),
    ],
)
def test_other_files_are_named(folder, content, message):
    extract(folder, ["a"])
    torch.save(content, folder / "b.pt")
    with pytest.raises(DataError, match=f"b.pt: .*{message}"):
        imported(folder)


def test_columns_are_not_chosen(folder):
    extract(folder, ["a"])
    with pytest.raises(UsageError, match="--id-column x: this file holds one vector per protein"):
        imported(folder, id_column="x")


def test_a_folder_of_two_formats_is_refused(folder):
    extract(folder, ["a"])
    (folder / "b.parquet").touch()
    with pytest.raises(DataError, match=r"a folder with .parquet and .pt files; choose with a glob"):
        imported(folder)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({33: torch.ones(4), "last": torch.ones(4)}, "mean_representations of 33, 'last'; layers are whole numbers"),
        ({33: torch.ones(4, dtype=torch.complex64)}, r"a tensor of shape \(4,\) and type torch.complex64"),
        ({33: torch.ones(4, dtype=torch.int64)}, "type torch.int64; expected one vector of numbers"),
    ],
)
def test_values_other_than_floating_point_vectors(vectors, message, folder):
    folder.mkdir()
    torch.save({"label": "a", "mean_representations": vectors}, folder / "a.pt")
    with pytest.raises(DataError, match=message):
        imported(folder)
