"""Content that looks like features or ids at first sight: none is lost, and none is taken for what it is not."""

import uuid

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy import sparse

from resvae_ray.data.importers import import_features
from resvae_ray.data.importers.joined_table import TablesBeside
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError

N = 12
MATRIX = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
IDS = [f"P1{number:04d}" for number in range(N)]
NAMES = [f"f{number}" for number in range(3)]


def imported(path, choice=None, **options):
    target = path.parent / "features.parquet"
    summary = import_features(path, target, choice, **options)
    table = pq.read_table(target)
    return summary, table["id"].to_pylist(), np.stack(table["features"].to_numpy(zero_copy_only=False)), table


class TestTheFirstColumnBelongsToItsFamily:
    def test_with_the_sign_of_a_comment(self, tmp_path):
        np.savetxt(tmp_path / "x.csv", MATRIX, delimiter=",", header=",".join(NAMES))
        np.testing.assert_allclose(imported(tmp_path / "x.csv")[2], MATRIX, rtol=1e-6)

    def test_with_spaces_after_the_commas(self, tmp_path):
        (tmp_path / "x.csv").write_text(pd.DataFrame(MATRIX, columns=NAMES).to_csv(index=False).replace(",", ", "))
        np.testing.assert_allclose(imported(tmp_path / "x.csv")[2], MATRIX, rtol=1e-6)
        (tmp_path / "features.parquet").unlink()
        np.testing.assert_allclose(imported(tmp_path / "x.csv", ColumnChoice(prefix="f"))[2], MATRIX, rtol=1e-6)


def to_npz(path, arrays):
    np.savez(path, **arrays)


def to_h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = np.char.encode(values) if values.dtype.kind == "U" else values


def to_pt(path, arrays):
    torch.save({n: v.tolist() if v.dtype.kind == "U" else torch.tensor(v) for n, v in arrays.items()}, path)


class TestArraysOfOneColumn:
    @pytest.mark.parametrize(("name", "write"), [("x.npz", to_npz), ("x.h5", to_h5)])
    def test_ids_and_labels(self, tmp_path, name, write):
        arrays = {"X": MATRIX, "accessions": np.array(IDS)[:, None], "label": np.arange(N)[:, None]}
        write(tmp_path / name, arrays)
        _, ids, matrix, table = imported(tmp_path / name)
        assert ids == IDS
        assert table["label"].to_pylist() == [str(number) for number in range(N)]
        np.testing.assert_array_equal(matrix, MATRIX)

    @pytest.mark.parametrize(("name", "write"), [("x.npz", to_npz), ("x.h5", to_h5), ("x.pt", to_pt)])
    def test_labels_beside_a_matrix_with_ids(self, tmp_path, name, write):
        write(tmp_path / name, {"X": MATRIX, "ids": np.array(IDS), "labels": np.arange(N)[:, None]})
        _, ids, _, table = imported(tmp_path / name)
        assert (ids, table["label"][-1].as_py()) == (IDS, "11")

    def test_features_of_width_one(self, tmp_path):
        np.savez(tmp_path / "x.npz", X=MATRIX[:, :1], ids=IDS)
        _, ids, matrix, _ = imported(tmp_path / "x.npz")
        assert ids == IDS
        np.testing.assert_array_equal(matrix, MATRIX[:, :1])


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "dia", "bsr"])
def test_a_sparse_matrix_of_scipy_is_named(tmp_path, form):
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_array(np.eye(6)).asformat(form))
    with pytest.raises(DataError, match=r"x.npz: a sparse matrix of SciPy, which is not read; save matrix.toarray\(\)"):
        imported(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["P12345", "A0A024R1R8", "ENSP00000123456", "NP_001234.1"])
def test_one_array_that_is_called_like_a_protein_has_its_residues(tmp_path, name):
    to_npz(tmp_path / "x.npz", {name: MATRIX})
    with pytest.raises(DataError, match=rf"'{name}' has the shape \(12, 3\), a vector per residue"):
        imported(tmp_path / "x.npz")


class TestNumbersThatAreStoredOtherwise:
    def written(self, path, matrix, **attributes):
        with h5py.File(path, "w") as file:
            file.create_dataset("embeddings", data=matrix).attrs.update(attributes)
            file["ids"] = np.char.encode(IDS)
        return path

    def test_transposed_by_matlab(self, tmp_path):
        path = self.written(tmp_path / "x.h5", MATRIX.T, MATLAB_class=np.bytes_("single"))
        with pytest.raises(DataError, match="'embeddings' was written by MATLAB, which turns rows into columns"):
            imported(path)

    @pytest.mark.parametrize("attribute", ["scale_factor", "add_offset"])
    def test_packed_as_netcdf_does(self, tmp_path, attribute):
        path = self.written(tmp_path / "x.h5", (MATRIX * 10).astype(np.int8), **{attribute: 0.1})
        with pytest.raises(
            DataError, match=f"'embeddings' has packed numbers, which its attributes '{attribute}' unpack"
        ):
            imported(path)

    def test_packed_by_a_filter_that_is_not_installed(self, tmp_path):
        path = self.written(tmp_path / "x.h5", MATRIX)
        with h5py.File(path, "a") as file:
            del file["embeddings"]
            how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            how.set_chunk(MATRIX.shape)
            how.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)  # Blosc
            kind, space = h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(MATRIX.shape)
            h5py.h5d.create(file.id, b"embeddings", kind, space, how).write_direct_chunk((0, 0), MATRIX.tobytes())
        with pytest.raises(DataError, match="packed by a filter that h5py lacks, such as Blosc of PyTables"):
            imported(path)


class TestExtensionTypesOfArrow:
    def test_ids_that_are_uuids(self, tmp_path):
        ids = [uuid.UUID(int=number) for number in range(N)]
        kept = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([one.bytes for one in ids], pa.binary(16)))
        pq.write_table(pa.table({"id": kept, "embedding": pa.array(MATRIX.tolist())}), tmp_path / "x.parquet")
        assert imported(tmp_path / "x.parquet")[1] == list(map(str, ids))

    def test_a_column_of_json(self, tmp_path):
        notes = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}'] * N))
        table = pa.table({"id": IDS, "embedding": pa.array(MATRIX.tolist()), "note": notes})
        pq.write_table(table, tmp_path / "x.parquet")
        assert imported(tmp_path / "x.parquet")[3]["note"][0].as_py() == '{"a": 1}'


class TestNumbersThatAreMissing:
    """pandas writes a missing number as NaN, which is not a class."""

    LABELS = np.array([1.0, np.nan] * (N // 2))

    def test_labels_of_arrays(self, tmp_path):
        np.savez(tmp_path / "x.npz", X=MATRIX, ids=IDS, label=self.LABELS)
        assert imported(tmp_path / "x.npz")[3]["label"].to_pylist()[:2] == ["1", None]

    def test_labels_of_parquet(self, tmp_path):
        table = pa.table({"id": IDS, "embedding": pa.array(MATRIX.tolist()), "label": self.LABELS})
        pq.write_table(table, tmp_path / "x.parquet")
        assert imported(tmp_path / "x.parquet")[3]["label"].to_pylist()[:2] == ["1", None]

    def test_labels_in_a_file_of_their_own(self, tmp_path):
        np.save(tmp_path / "x.npy", MATRIX)
        np.save(tmp_path / "y.npy", self.LABELS)
        table = imported(tmp_path / "x.npy", beside=TablesBeside(labels=tmp_path / "y.npy"))[3]
        assert table["label"].to_pylist()[:2] == ["1", None]

    def test_ids(self, tmp_path):
        pq.write_table(pa.table({"id": self.LABELS, "embedding": pa.array(MATRIX.tolist())}), tmp_path / "x.parquet")
        with pytest.raises(DataError, match="row 2: the id is missing"):
            imported(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    "state", [{"fc.weight": torch.zeros(6, 3)}, {"epoch": 3, "model": {"a.weight": torch.zeros(3)}}]
)
def test_weights_of_a_network_are_not_features(tmp_path, state):
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(DataError, match="x.pt: the weights of a network; expected features of proteins"):
        imported(tmp_path / "x.pt")


class TestListsOfWholeNumbers:
    def written(self, path, **columns):
        pq.write_table(pa.table({"id": IDS, **{n: pa.array(v.tolist()) for n, v in columns.items()}}), path)
        return path

    def test_tokens_are_not_features(self, tmp_path):
        path = self.written(tmp_path / "x.parquet", input_ids=np.ones((N, 3), int))
        with pytest.raises(DataError, match="'input_ids' holds lists of whole numbers, as tokens are; choose it with"):
            imported(path)
        assert imported(path, ColumnChoice(features_column="input_ids"))[2].tolist() == [[1, 1, 1]] * N

    def test_they_pass_through_beside_features(self, tmp_path):
        path = self.written(tmp_path / "x.parquet", input_ids=np.ones((N, 3), int), hidden=MATRIX)
        _, _, matrix, table = imported(path)
        np.testing.assert_array_equal(matrix, MATRIX)
        assert table["input_ids"][0].as_py() == [1, 1, 1]

    def test_a_usual_name_is_enough(self, tmp_path):
        path = self.written(tmp_path / "x.parquet", embedding=np.ones((N, 3), int))
        assert imported(path)[2].shape == (N, 3)


class TestFilesWithNumbersInTheirNames:
    """Names are sorted, so that part-10 comes before part-2."""

    @pytest.fixture
    def parts(self, tmp_path):
        def write(form, **columns):
            (tmp_path / "parts").mkdir()
            for row in range(N):
                table = {
                    "embedding": pa.array([MATRIX[row].tolist()]),
                    **{n: v[row : row + 1] for n, v in columns.items()},
                }
                pq.write_table(pa.table(table), tmp_path / "parts" / form.format(row))
            return tmp_path / "parts"

        return write

    def test_rows_without_ids_need_the_order_of_numbers(self, parts, tmp_path):
        (tmp_path / "ids.txt").write_text("\n".join(IDS))
        folder = parts("part-{}.parquet")
        for choice in (ColumnChoice(), ColumnChoice(ids="rows"), ColumnChoice(ids=str(tmp_path / "ids.txt"))):
            with pytest.raises(DataError, match=r"part-2.parquet: is read after .*part-10.parquet, in the order"):
                imported(folder, choice)

    def test_leading_zeros_keep_it(self, parts, tmp_path):
        pd.DataFrame({"id": IDS}).to_csv(tmp_path / "ids.csv", index=False)
        _, ids, matrix, _ = imported(parts("part-{:03d}.parquet"), beside=TablesBeside(metadata=tmp_path / "ids.csv"))
        assert ids == IDS
        np.testing.assert_array_equal(matrix, MATRIX)

    def test_rows_with_ids_need_no_order(self, parts):
        assert sorted(imported(parts("part-{}.parquet", id=IDS))[1]) == IDS
