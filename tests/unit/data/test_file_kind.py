"""The content of a file decides what it is, and a message about it stays short."""

import shutil

import h5py
import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.data.checking.check import check_features
from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.proteins import read_proteins
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import DataError, UsageError
from tests.formats import FORMATS

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
IDS = [f"P{n:02d}" for n in range(20)]


@pytest.mark.parametrize(
    "ending", ["parquet", "npz", "npy", "csv", "tsv.gz", "txt", "xlsx", "h5", "h5ad", "pt", "none"]
)
def test_a_pointer_of_git_lfs_is_named(ending, tmp_path):
    (tmp_path / f"a.{ending}").write_text(POINTER)
    with pytest.raises(DataError, match=f"a.{ending}: a pointer of Git LFS, not the file itself; .*git lfs pull"):
        import_features(tmp_path / f"a.{ending}", tmp_path / "out.parquet")


@pytest.mark.parametrize("ending", ["parquet", "pt"])
def test_a_folder_of_pointers(ending, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"a.{ending}").write_text(POINTER)
    with pytest.raises(DataError, match="a pointer of Git LFS"):
        import_features(tmp_path / "in", tmp_path / "out.parquet")


def test_a_pointer_elsewhere(make_features, tmp_path):
    for name in ("p.fasta", "p.csv", "p.txt", "p.parquet"):
        (tmp_path / name).write_text(POINTER)
    for work in (
        lambda: list(read_proteins(tmp_path / "p.fasta")),
        lambda: list(read_proteins(tmp_path / "p.csv")),
        lambda: check_features(tmp_path / "p.parquet"),
        lambda: split_features(make_features(20, 2), tmp_path / "d", exclude=tmp_path / "p.txt"),
        lambda: split_features(make_features(20, 2), tmp_path / "d", rule="given", by=tmp_path / "p.txt"),
    ):
        with pytest.raises(DataError, match="a pointer of Git LFS"):
            work()


@pytest.mark.parametrize("name", ["rows.npz", "proteins.h5", "fixed.parquet", "table.xlsx", "table.csv.gz"])
@pytest.mark.parametrize("alias", ["a", "a.csv", "a.dat"])
def test_a_format_under_another_name(name, alias, matrix, tmp_path):
    FORMATS[name].write(tmp_path / name, matrix, IDS, ["x"] * 20)
    shutil.move(tmp_path / name, tmp_path / alias)
    if name == "table.csv.gz" and alias != "a.csv":
        with pytest.raises(UsageError, match="unknown format"):
            import_features(tmp_path / alias, tmp_path / "out.parquet")
        return
    assert import_features(tmp_path / alias, tmp_path / "out.parquet").rows == 20


def test_fasta_is_not_imported(tmp_path):
    (tmp_path / "a.txt").write_text(">P1\nMKV\n")
    with pytest.raises(UsageError, match=r"a.txt: sequences in FASTA; 'resvae-ray embed'"):
        import_features(tmp_path / "a.txt", tmp_path / "out.parquet")


def many_h5(path):
    with h5py.File(path, "w") as file:
        for n in range(30):
            file[f"m{n}/emb"] = np.ones((3, 2))


def many_arrays(path):
    np.savez(path, **{f"array{n}": np.ones((3, 2)) for n in range(30)})


def many_columns(path):
    pd.DataFrame({f"column{chr(97 + n)}": [1] for n in range(26)}).to_csv(path, index=False)


def many_vectors(path):
    pq.write_table(pa.table({"id": ["a"], **{f"v{chr(97 + n)}": [[1.0]] for n in range(26)}}), path)


def many_sheets(path):
    workbook = openpyxl.Workbook()
    for n in range(30):
        workbook.create_sheet(f"sheet{n}")
    workbook.save(path)


def many_layers(path):
    torch.save({"label": "a", "mean_representations": {n: torch.ones(2) for n in range(30)}}, path)


@pytest.mark.parametrize(
    ("write", "ending", "choice"),
    [
        (many_h5, "h5", {}),
        (many_h5, "h5", {"features_column": "nothing"}),
        (many_arrays, "npz", {}),
        (many_arrays, "npz", {"features_column": "nothing"}),
        (many_arrays, "npz", {"features_column": "array3", "id_column": "nothing"}),
        (many_columns, "csv", {}),
        (many_columns, "csv", {"prefix": "nothing"}),
        (many_vectors, "parquet", {}),
        (many_vectors, "parquet", {"features_column": "nothing"}),
        (many_sheets, "xlsx", {"sheet": "nothing"}),
        (many_layers, "pt", {}),
        (many_layers, "pt", {"layer": 99}),
    ],
)
def test_a_message_lists_eight_names_at_most(write, ending, choice, tmp_path):
    write(tmp_path / f"a.{ending}")
    with pytest.raises((DataError, UsageError)) as caught:
        import_features(tmp_path / f"a.{ending}", tmp_path / "out.parquet", ColumnChoice(**choice))
    assert str(caught.value).count(", ") <= 10
    assert len(str(caught.value).removeprefix(str(tmp_path))) < 400
