"""Every format that `import` reads, written as its own tools write it."""

import gzip
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse
import torch


def write_fixed(path, matrix, ids, labels):
    flat = pa.array(matrix.reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])
    pq.write_table(pa.table({"id": ids, "label": labels, "features": column}), path, row_group_size=500)


def write_list(path, matrix, ids, labels):
    column = pa.array(list(matrix.astype(np.float64)), pa.list_(pa.float64()))
    columns = {"label": labels, "embedding": column, "accession": ids}
    pq.write_table(pa.table(columns), path, row_group_size=500)


def write_half(path, matrix, ids, labels):
    column = pa.array(list(matrix.astype(np.float16)), pa.large_list(pa.float16()))
    columns = {"id": ids, "label": labels, "features": column}
    pq.write_table(pa.table(columns), path, row_group_size=500)


def write_wide(path, matrix, ids, labels):
    # The order of the columns is not the order of their numbers.
    columns = {f"ESM2_cls{number}": matrix[:, number] for number in reversed(range(matrix.shape[1]))}
    pq.write_table(pa.table({"id": ids, "label": labels, **columns}), path, row_group_size=500)


def write_shards(path, matrix, ids, labels):
    """As `datasets` writes them: splits in shards, vectors as lists of float64, a description of the columns."""
    (path / "data").mkdir(parents=True)
    (path / "README.md").write_text("a dataset card")
    half = len(ids) * 3 // 4
    for name, part in (("test-00000-of-00001", slice(half)), ("train-00000-of-00001", slice(half, None))):
        column = pa.array(list(matrix[part].astype(np.float64)), pa.list_(pa.float64()))
        table = pa.table({"id": pa.array(ids[part], pa.string()), "embedding": column, "label": labels[part]})
        table = table.replace_schema_metadata({"huggingface": '{"info": {"features": {}}}'})
        pq.write_table(table, path / "data" / f"{name}.parquet", row_group_size=500)


def write_npz(path, matrix, ids, labels):
    np.savez(path, embeddings=matrix, ids=np.array(ids), label=np.array(labels))


def write_npz_by_column(path, matrix, ids, labels):
    np.savez_compressed(path, emb=np.asfortranarray(matrix), ids=np.array(ids), labels=np.array(labels))


def write_delimited(path, matrix, ids, labels):
    sep = "\t" if ".csv" not in path.name else ","
    lines = [sep.join(["Entry_ID", "label", *(f"ESM2_cls{number}" for number in range(matrix.shape[1]))])]
    lines += [sep.join([i, l, *map(repr, map(float, row))]) for i, l, row in zip(ids, labels, matrix, strict=True)]
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_xlsx(path, matrix, ids, labels):
    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet("proteins")
    sheet.append(["Entry_ID", *(f"ESM2_cls{number}" for number in range(matrix.shape[1])), "label"])
    for name, row, label in zip(ids, matrix.tolist(), labels, strict=True):
        sheet.append([name, *(value if np.isfinite(value) else str(value) for value in row), label])
    workbook.save(path)


def write_xlsx_by_pandas(path, matrix, ids, labels):
    frame = pd.DataFrame(matrix.astype(object)).add_prefix("f")
    frame.insert(0, "label", labels)
    frame.index = ids
    frame.replace({np.inf: "inf", -np.inf: "-inf"}).to_excel(path, na_rep="nan")


def write_h5_per_protein(path, matrix, ids, labels):
    """As bio_embeddings and biotrainer do: numbered data sets, the id in an attribute."""
    with h5py.File(path, "w", track_order=True) as file:
        for number, (name, vector) in enumerate(zip(ids, matrix, strict=True)):
            file.create_dataset(str(number), data=vector).attrs["original_id"] = name


def write_h5_matrix(path, matrix, ids, labels):
    with h5py.File(path, "w") as file:
        packed = {"chunks": (min(64, len(matrix)), matrix.shape[1]), "compression": "gzip"} if len(matrix) else {}
        file.create_dataset("embeddings", data=matrix, **packed)
        file["ids"] = np.array(ids, dtype="S")
        file.create_dataset("label", data=labels, dtype=h5py.string_dtype())


def write_h5ad(path, matrix, ids, labels, X=None, **slots):
    # anndata 0.12 cannot write the strings that pandas 3 makes unless told otherwise.
    labels = pd.Categorical(pd.Series(labels, dtype=object))
    obs = pd.DataFrame({"label": labels}, index=pd.Index(ids, dtype=object))
    var = pd.DataFrame(index=pd.Index([f"f{n}" for n in range(0 if X is None else X.shape[1])], dtype=object))
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that names are not unique
        anndata.AnnData(X=X, obs=obs, var=var, **slots).write_h5ad(path)


def write_h5ad_x(path, matrix, ids, labels):
    write_h5ad(path, matrix, ids, labels, X=matrix)


def write_h5ad_rows(path, matrix, ids, labels):
    write_h5ad(path, matrix, ids, labels, X=scipy.sparse.csr_matrix(matrix))


def write_h5ad_columns(path, matrix, ids, labels):
    write_h5ad(path, matrix, ids, labels, X=scipy.sparse.csc_matrix(matrix))


def write_h5ad_obsm(path, matrix, ids, labels):
    write_h5ad(path, matrix, ids, labels, obsm={"X_esm2": matrix})


def write_esm_extract(path, matrix, ids, labels):
    """As fair-esm's scripts/extract.py does with --include mean."""
    path.mkdir()
    for number, (label, vector) in enumerate(zip(ids, matrix, strict=True)):
        result = {"label": label, "mean_representations": {33: torch.from_numpy(vector).clone()}}
        torch.save(result, path / f"{number:05d}.pt")


@dataclass(frozen=True)
class Format:
    """How a format is written, and what its test of memory needs."""

    write: Callable[[Path, np.ndarray, list[str], list[str]], None]
    labels: bool = True
    shape: tuple[int, int] = (10000, 200)  # of a file that is clearly larger than what may be held
    memory: str = ""  # why it is not measured


TEXT = (2000, 20)
FILES = (200, 1000)
BY_COLUMN = "stored column by column, so that the first row is at its end"
AS_CSV = "read by the reader of table.csv"
SHEET = "what a parser of XML holds drowns what the reader holds; test_excel.py counts rows"

FORMATS = {
    "fixed.parquet": Format(write_fixed),
    "list.parquet": Format(write_list),
    "half.parquet": Format(write_half),
    "wide.parquet": Format(write_wide, shape=(8000, 50)),
    "shards.parquet": Format(write_shards),
    "rows.npz": Format(write_npz),
    "columns.npz": Format(write_npz_by_column, memory=BY_COLUMN),
    "table.csv": Format(write_delimited, shape=TEXT),
    "table.csv.gz": Format(write_delimited, shape=TEXT),
    "table.tsv": Format(write_delimited, memory=AS_CSV),
    "table.tsv.gz": Format(write_delimited, memory=AS_CSV),
    "table.txt": Format(write_delimited, memory=AS_CSV),
    "table.txt.gz": Format(write_delimited, memory=AS_CSV),
    "table.xlsx": Format(write_xlsx, memory=SHEET),
    "pandas.xlsx": Format(write_xlsx_by_pandas, memory=SHEET),
    "proteins.h5": Format(write_h5_per_protein, labels=False, shape=FILES),
    "matrix.hdf5": Format(write_h5_matrix),
    "dense.h5ad": Format(write_h5ad_x),
    "rows.h5ad": Format(write_h5ad_rows),
    "columns.h5ad": Format(write_h5ad_columns, memory=BY_COLUMN),
    "obsm.h5ad": Format(write_h5ad_obsm),
    "esm.pt": Format(write_esm_extract, labels=False, shape=FILES),
}
