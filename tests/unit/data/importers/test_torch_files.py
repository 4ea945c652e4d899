"""Files of tensors in the shapes that people's own scripts leave; test_esm_extract.py has those of esm-extract."""

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.data.importers import import_features
from resvae_ray.errors import DataError

IDS = [f"P{number}" for number in range(10000, 10012)]
MATRIX = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
TENSORS = [torch.tensor(vector) for vector in MATRIX]


def imported(source):
    out = source.with_name("out.parquet")
    import_features(source, out)
    table = pq.read_table(out)
    return table, table["id"].to_pylist(), np.stack(table["features"].to_numpy())


FILES = {
    "pairs": list(zip(IDS, TENSORS, strict=True)),
    "pairs of (1, D)": [(name, tensor[None]) for name, tensor in zip(IDS, TENSORS, strict=True)],
    "ids and matrix": (IDS, torch.tensor(MATRIX)),
    "matrix and ids": [torch.tensor(MATRIX), tuple(IDS)],
    "a list of vectors": {"ids": IDS, "embeddings": TENSORS},
    "records": [{"id": name, "embedding": tensor} for name, tensor in zip(IDS, TENSORS, strict=True)],
}


@pytest.mark.parametrize("content", FILES.values(), ids=list(FILES))
def test_ids_and_vectors_in_one_file(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    _, ids, matrix = imported(tmp_path / "a.pt")
    assert ids == IDS
    np.testing.assert_array_equal(matrix, MATRIX)


def test_records_keep_their_labels(tmp_path):
    rows = zip(IDS, TENSORS, strict=True)
    torch.save(
        [{"id": name, "vector": tensor, "label": f"c{n % 2}"} for n, (name, tensor) in enumerate(rows)],
        tmp_path / "a.pt",
    )
    assert imported(tmp_path / "a.pt")[0]["label"].to_pylist() == ["c0", "c1"] * 6


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("named", [False, True])
def test_a_folder_of_batches(size, named, tmp_path):
    (tmp_path / "folder").mkdir()
    for start in range(0, 12, size):
        names, matrix = IDS[start : start + size], torch.tensor(MATRIX[start : start + size])
        batch = dict(zip(names, matrix, strict=True)) if named else {"ids": names, "embeddings": matrix}
        torch.save(batch, tmp_path / "folder" / f"batch_{start:02d}.pt")
    _, ids, matrix = imported(tmp_path / "folder")
    assert ids == IDS
    np.testing.assert_array_equal(matrix, MATRIX)


def test_a_file_without_vectors_among_batches_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    torch.save({"ids": IDS, "embeddings": torch.tensor(MATRIX)}, tmp_path / "folder" / "a.pt")
    torch.save(torch.tensor(1.0), tmp_path / "folder" / "b.pt")
    with pytest.raises(DataError, match=r"b.pt: no vectors of several proteins, which .*a.pt has"):
        imported(tmp_path / "folder")


@pytest.mark.parametrize("content", [{"P12345": TENSORS[0]}, {"P12345": TENSORS[0][None]}])
def test_a_single_protein_has_the_name_of_its_array(content, tmp_path):
    torch.save(content, tmp_path / "one.pt")
    arrays: dict[str, Any] = {name: np.asarray(tensor) for name, tensor in content.items()}
    np.savez(tmp_path / "one.npz", **arrays)
    for ending in ("pt", "npz"):
        assert imported(tmp_path / f"one.{ending}")[1] == ["P12345"]
        (tmp_path / "out.parquet").unlink()


@pytest.mark.parametrize("lengths", [(7, 7, 7), (7, 8, 9)])
@pytest.mark.parametrize("ending", ["npz", "pt", "list"])
def test_residues_of_proteins_of_any_length_are_named(lengths, ending, tmp_path):
    residues: dict[str, Any] = {IDS[n]: np.ones((length, 4), np.float32) for n, length in enumerate(lengths)}
    tensors = {name: torch.tensor(array) for name, array in residues.items()}
    path = tmp_path / ("a.npz" if ending == "npz" else "a.pt")
    if ending == "npz":
        np.savez(path, **residues)
    else:
        torch.save(tensors if ending == "pt" else {"ids": IDS[:3], "embeddings": list(tensors.values())}, path)
    with pytest.raises(DataError, match="a vector per residue"):
        imported(path)
