"""Layers, poolings and groups are not proteins."""

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.data.importers import import_features
from resvae_ray.data.importers.levels import naming_of
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError, UsageError

IDS = [f"P{number}" for number in range(10000, 10020)]
MATRIX = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)


def ids_of(paths, wanted=None):
    split = [tuple(path.split("/")) for path in paths]
    naming = naming_of(split, wanted, "a.h5")
    return [name for path in split if (name := naming.id_of(path)) is not None]


@pytest.mark.parametrize(
    ("paths", "ids"),
    [
        (["P1", "P2"], ["P1", "P2"]),
        (["P1/embedding", "P2/embedding"], ["P1", "P2"]),
        (["esm/33/P1", "esm/33/P2"], ["P1", "P2"]),
        (["all/P1/mean", "all/P2/mean"], ["P1", "P2"]),
        (["P1/10-20", "P1/30-40", "P2/5-9"], ["P1/10-20", "P1/30-40", "P2/5-9"]),
        (["P1/10-20", "P1/30-40", "P2"], ["P1/10-20", "P1/30-40", "P2"]),
        (["P1/embedding"], ["P1"]),
        (["esm/P1"], ["esm/P1"]),
    ],
)
def test_groups_with_one_vector_each_are_the_proteins(paths, ids):
    assert ids_of(paths) == ids


LAYERS = [f"{layer}/{name}" for layer in ("layer_6", "layer_33") for name in IDS]
POOLINGS = [f"{name}/{pooling}" for name in IDS for pooling in ("mean", "cls")]
BOTH = [f"{layer}/{name}/{pooling}" for layer in ("6", "33") for name in IDS for pooling in ("mean", "cls")]


@pytest.mark.parametrize(
    ("paths", "wanted", "names"),
    [
        (LAYERS, None, "'layer_6', 'layer_33'"),
        (LAYERS[:-3], None, "'layer_6', 'layer_33'"),
        (POOLINGS, None, "'mean', 'cls'"),
        (BOTH, None, "'6', '33'"),
        (BOTH, "33", "'mean', 'cls'"),
        (BOTH, "cls", "'6', '33'"),
    ],
)
def test_repeated_names_are_a_choice_to_ask_for(paths, wanted, names):
    with pytest.raises(UsageError, match=f"a.h5: several vectors per protein, under {names}; choose one with"):
        ids_of(paths, wanted)


AT_THE_END = [f"{name}_{pooling}" for name in IDS for pooling in ("mean", "cls")]
AT_THE_START = [f"{layer}.{name}" for layer in ("layer6", "layer33") for name in IDS]


@pytest.mark.parametrize(
    ("paths", "wanted", "names"),
    [(AT_THE_END, "cls", "'mean', 'cls'"), (AT_THE_START, "layer33", "'layer6', 'layer33'")],
)
def test_levels_within_names_are_a_choice_too(paths, wanted, names):
    with pytest.raises(UsageError, match=f"several vectors per protein, under {names}; choose one with"):
        ids_of(paths)
    assert ids_of(paths, wanted) == IDS


@pytest.mark.parametrize(
    "names", [AT_THE_END[::2], [f"{name}_{n}" for name in IDS for n in (1, 2)], ["a_l1", "b_l2"], ["1abc_A", "1abc_B"]]
)
def test_names_that_end_otherwise_are_ids(names):
    assert ids_of(names) == names


@pytest.mark.parametrize("container", ["a.h5", "a.npz", "a.pt", "folder"])
@pytest.mark.parametrize("paths", [AT_THE_END, AT_THE_START])
def test_levels_within_names_in_every_container(container, paths, tmp_path):
    vectors = {path: MATRIX[k // 2 if paths is AT_THE_END else k % 20] for k, path in enumerate(paths)}
    vectors = {path: 2 * vector if path[:6] == "layer3" else vector for path, vector in vectors.items()}
    source, out = tmp_path / container, tmp_path / "out.parquet"
    if container == "a.h5":
        with h5py.File(source, "w") as file:
            for path, vector in vectors.items():
                file[path] = vector
    elif container == "a.npz":
        np.savez(source, **vectors)
    elif container == "a.pt":
        torch.save({path: torch.tensor(vector) for path, vector in vectors.items()}, source)
    else:
        source.mkdir()
        for path, vector in vectors.items():
            torch.save(torch.tensor(vector), source / f"{path}.pt")
    with pytest.raises(UsageError, match="choose one with --features-column"):
        import_features(source, out)
    import_features(source, out, ColumnChoice(features_column="mean" if paths is AT_THE_END else "layer6"))
    assert pq.read_table(out)["id"].to_pylist() == IDS
    np.testing.assert_array_equal(np.stack(pq.read_table(out)["features"].to_numpy()), MATRIX)


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [(LAYERS, "layer_33"), (POOLINGS, "cls"), (BOTH, "33/cls"), (LAYERS[:-3], "layer_6")],
)
def test_the_chosen_level_gives_the_proteins(paths, wanted):
    assert ids_of(paths, wanted) == IDS


def test_a_missing_level_is_named():
    with pytest.raises(UsageError, match=r"--features-column max: not in the file; .* 'mean', 'cls', .* \(22 in all\)"):
        ids_of(POOLINGS, "max")


class TestHDF5:
    @pytest.fixture
    def write(self, tmp_path):
        def make(paths, vector=lambda name: MATRIX[IDS.index(name)]):
            with h5py.File(tmp_path / "a.h5", "w") as file:
                for path in paths:
                    file[path] = vector(next(name for name in path.split("/") if name in IDS))
            return tmp_path / "a.h5"

        return make

    def read(self, path, wanted=None):
        out = path.with_name("out.parquet")
        import_features(path, out, ColumnChoice(features_column=wanted))
        table = pq.read_table(out)
        return table["id"].to_pylist(), np.stack(table["features"].to_numpy())

    @pytest.mark.parametrize(("paths", "wanted"), [(LAYERS, "layer_33"), (POOLINGS, "cls"), (BOTH, "6/mean")])
    def test_a_choice(self, write, paths, wanted):
        path = write(paths)
        with pytest.raises(UsageError, match="choose one with --features-column"):
            self.read(path)
        ids, matrix = self.read(path, wanted)
        assert ids == IDS
        np.testing.assert_array_equal(matrix, MATRIX)

    def test_one_vector_per_group(self, write):
        assert self.read(write([f"{name}/embedding" for name in IDS]))[0] == IDS

    def test_the_vector_beside_the_residues(self, write):
        path = write([f"{name}/protein_vec" for name in IDS])
        with h5py.File(path, "a") as file:
            for name in IDS:
                file[f"{name}/per_residue"] = np.ones((7, 4), np.float32)
        with pytest.raises(UsageError, match="under 'per_residue', 'protein_vec'"):
            self.read(path)
        assert self.read(path, "protein_vec")[0] == IDS
        path.with_name("out.parquet").unlink()
        with pytest.raises(DataError, match="one vector per residue"):
            self.read(path, "per_residue")

    def test_residues_in_arrays_of_a_usual_name(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for length, name in enumerate(IDS, 5):
                file[f"{name}/embeddings"] = np.ones((length, 4), np.float32)
        with pytest.raises(DataError, match="one vector per residue"):
            self.read(tmp_path / "a.h5")

    @pytest.mark.parametrize("species", [2, 60])
    def test_string_has_a_matrix_per_species(self, species, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for taxon in range(3000, 3000 + species):
                file[f"species/{taxon}/embeddings"] = MATRIX
                file[f"species/{taxon}/proteins"] = np.array(IDS, "S")
        with pytest.raises(DataError, match="several matrices .*choose with --features-column"):
            self.read(tmp_path / "a.h5")
        for wanted in ("species/3001", "species/3001/embeddings"):
            ids, matrix = self.read(tmp_path / "a.h5", wanted)
            (tmp_path / "out.parquet").unlink()
            assert ids == IDS
            np.testing.assert_array_equal(matrix, MATRIX)


def test_layers_in_folders_of_parquet_are_not_mixed(make_features, tmp_path):
    for layer in ("6", "33"):
        (tmp_path / "all" / layer).mkdir(parents=True)
        make_features().rename(tmp_path / "all" / layer / "part.parquet")
    with pytest.raises(DataError, match="'SYN00000000' appears in row 1 and .* layers or poolings, import one"):
        import_features(tmp_path / "all", tmp_path / "out")
