"""Row numbers are not taken for ids, nor ids passed over for row numbers, in any container."""

from typing import Any

import anndata
import h5py
import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resvae_ray.data.id_column import in_order_of_number, is_numbering
from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.schema import vector_type
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import DataError, UsageError

N = 12
MATRIX = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
NAMES = [f"prot{number:02d}" for number in range(N)]


def to_csv(path, columns):
    pd.DataFrame(columns | {f"f{n}": MATRIX[:, n] for n in range(3)}).to_csv(path, index=False)


def to_xlsx(path, columns):
    workbook = openpyxl.Workbook()
    names = [*columns, "f0", "f1", "f2"]
    sheet = workbook.worksheets[0]
    sheet.append(names)
    for row in zip(*columns.values(), *MATRIX.T.tolist(), strict=True):
        sheet.append(list(row))
    workbook.save(path)


def to_parquet(path, columns):
    flat = pa.FixedSizeListArray.from_arrays(pa.array(MATRIX.reshape(-1)), 3)
    pq.write_table(pa.table({**columns, "embedding": flat}), path)


def to_npz(path, columns):
    arrays: dict[str, Any] = {name: np.array(values) for name, values in columns.items()}
    np.savez(path, embeddings=MATRIX, **arrays)


def to_h5(path, columns):
    with h5py.File(path, "w") as file:
        file["embeddings"] = MATRIX
        for name, values in columns.items():
            file[name] = np.array(values, "S") if isinstance(values[0], str) else values


CONTAINERS = {"a.csv": to_csv, "a.xlsx": to_xlsx, "a.parquet": to_parquet, "a.npz": to_npz, "a.h5": to_h5}


@pytest.fixture(params=CONTAINERS)
def container(request, tmp_path):
    def write(columns):
        CONTAINERS[request.param](tmp_path / request.param, columns)
        return tmp_path / request.param

    return write


def imported(path, **choice):
    out = path.with_name("out.parquet")
    out.unlink(missing_ok=True)
    summary = import_features(path, out, ColumnChoice(**choice))
    table = pq.read_table(out)
    matrix = np.stack(table["features"].to_numpy())
    return table["id"].to_pylist(), summary.found.get("ids"), matrix, table.column_names


@pytest.mark.parametrize(
    "name",
    [
        "proteins",
        "accessions",
        "names",
        "headers",
        "sequence_ids",
        "identifiers",
        "ids",
        "Entry ID",
        "ProteinID",
        "Name",
    ],
)
def test_the_usual_names_of_ids(container, name):
    assert imported(container({name: NAMES}))[0] == NAMES


def test_numbers_in_an_id_column_are_row_numbers(container, tmp_path):
    path = container({"id": list(range(N))})
    assert imported(path)[:2] == ([str(n) for n in range(N)], "row numbers")
    with pytest.raises(DataError, match="ids: those of .* are row numbers"):
        split_features(tmp_path / "out.parquet", tmp_path / "d", exclude=path)


def test_other_numbers_are_ids(container):
    ids, of_ids, _, _ = imported(container({"id": list(range(5, N + 5))}))
    assert (ids[0], of_ids) == ("5", None)


@pytest.mark.parametrize("columns", [{"what": NAMES}, {"id": list(range(N)), "what": NAMES}])
def test_texts_that_all_differ_are_not_passed_over(container, columns):
    path = container(columns)
    with pytest.raises(DataError, match="--id-column"):
        imported(path)
    assert imported(path, id_column="what")[0] == NAMES


ACCESSIONS = [f"P{n:05d}" for n in range(7)]


@pytest.mark.parametrize(
    "columns",
    [
        {"label": NAMES},
        {"labels": NAMES},
        {"id": list(range(N)), "label": NAMES},
        {"sequences": NAMES},
        {"what": [*NAMES[:-1], NAMES[0]]},
        {"what": [*NAMES[:-1], ""]},
        {"what": [*ACCESSIONS, *ACCESSIONS[:5]]},
    ],
)
def test_texts_that_may_be_ids_are_asked_for(container, columns):
    path = container(columns)
    with pytest.raises(DataError, match="--id-column"):
        imported(path)
    assert imported(path, ids="rows")[1] == "row numbers"


@pytest.mark.parametrize(
    "columns",
    [
        {"label": [f"class {n % 5}" for n in range(N)]},
        {"label": [0.5 * n for n in range(N)]},
        {"what": [*(str(n / 7) for n in range(N - 2)), "nan", ""]},
    ],
)
def test_labels_and_numbers_are_no_ids(container, columns):
    ids, of_ids, _, _ = imported(container(columns))
    assert (ids, of_ids) == ([str(n) for n in range(N)], "row numbers")


@pytest.mark.parametrize(
    "columns", [{}, {"kind": ["a", "b"] * (N // 2)}, {"sequence": [f"M{'A' * n}" for n in range(N)]}]
)
def test_a_table_without_ids_has_numbered_rows(container, columns):
    ids, of_ids, matrix, names = imported(container(columns))
    assert (ids, of_ids) == ([str(n) for n in range(N)], "row numbers")
    np.testing.assert_array_equal(matrix, MATRIX)
    assert names == ["id", "features", *columns]


def test_the_id_column_is_not_the_label_too(container):
    path = container({"label": NAMES})
    ids, _, _, names = imported(path, id_column="label")
    assert (ids, names) == (NAMES, ["id", "features"])
    with pytest.raises(UsageError, match="'label' cannot be both the id and the label"):
        imported(path, id_column="label", label_column="label")


def test_a_numbering_beside_other_ids_is_left_out(container):
    assert imported(container({"id": list(range(N)), "what": NAMES}), id_column="what")[3] == ["id", "features"]


@pytest.mark.parametrize("index", [[0] * N, list(range(N)), list(range(N, 2 * N))])
def test_an_index_of_numbers_is_not_an_id(index, tmp_path):
    frame = pd.DataFrame(MATRIX, index=index)
    frame.to_csv(tmp_path / "a.csv")
    ids, of_ids, matrix, _ = imported(tmp_path / "a.csv")
    assert of_ids == "row numbers"
    assert len(set(ids)) == N
    np.testing.assert_allclose(matrix, MATRIX)


def test_an_index_beside_ids_of_an_unknown_name(tmp_path):
    pd.DataFrame(MATRIX).add_prefix("f").assign(what=NAMES).to_csv(tmp_path / "a.csv")
    with pytest.raises(DataError, match="no id column; name it with --id-column"):
        imported(tmp_path / "a.csv")


def test_an_index_of_repeated_names_is_refused(tmp_path):
    pd.DataFrame(MATRIX, index=["a", "b"] * (N // 2)).add_prefix("f").to_csv(tmp_path / "a.csv")
    with pytest.raises(DataError, match="the index without a name repeats its values"):
        imported(tmp_path / "a.csv")


@pytest.mark.parametrize("padded", [False, True])
def test_keys_that_number_the_proteins_are_in_the_order_of_number(padded, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number, vector in enumerate(MATRIX):
            file[f"{number:05d}" if padded else str(number)] = vector
    _, of_ids, matrix, _ = imported(tmp_path / "a.h5")
    assert of_ids == "row numbers"
    np.testing.assert_array_equal(matrix, MATRIX)


def test_numbered_keys_with_original_ids_are_in_the_order_of_number(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number, vector in enumerate(MATRIX):
            file.create_dataset(str(number), data=vector).attrs["original_id"] = NAMES[number]
    ids, of_ids, matrix, _ = imported(tmp_path / "a.h5")
    assert (ids, of_ids) == (NAMES, None)
    np.testing.assert_array_equal(matrix, MATRIX)


class TestH5AD:
    def write(self, path, index, **columns):
        obs = pd.DataFrame({name: pd.Series(v, dtype=object).to_numpy() for name, v in columns.items()}, dtype=object)
        obs.index = pd.Index([str(name) for name in index], dtype=object)
        var = pd.DataFrame(index=pd.Index(["x", "y", "z"], dtype=object))
        anndata.AnnData(X=MATRIX, obs=obs, var=var).write_h5ad(path)
        return path

    def test_numbers_of_observations(self, tmp_path):
        assert imported(self.write(tmp_path / "a.h5ad", range(N)))[1] == "row numbers"

    def test_ids_in_a_column_are_not_passed_over(self, tmp_path):
        path = self.write(tmp_path / "a.h5ad", range(N), what=NAMES)
        with pytest.raises(DataError, match="'_index' only numbers the rows, and the texts in 'what' may be the ids"):
            imported(path)
        assert imported(path, id_column="what")[0] == NAMES

    def test_names_of_observations(self, tmp_path):
        assert imported(self.write(tmp_path / "a.h5ad", NAMES, what=NAMES))[:2] == (NAMES, None)


def test_row_numbers_of_a_split_stay_row_numbers(tmp_path):
    np.save(tmp_path / "a.npy", MATRIX)
    import_features(tmp_path / "a.npy", tmp_path / "a.parquet")
    dataset = split_features(tmp_path / "a.parquet", tmp_path / "d")
    with pytest.raises(DataError, match="are row numbers"):
        split_features(tmp_path / "a.parquet", tmp_path / "again", exclude=str(dataset.path / "val"))


def test_row_numbers_that_a_user_wrote_stay_row_numbers(tmp_path):
    to_parquet(tmp_path / "a.parquet", {"id": list(range(N))})
    dataset = split_features(tmp_path / "a.parquet", tmp_path / "d")
    to_parquet(tmp_path / "b.parquet", {"id": list(range(5, N + 5))})
    with pytest.raises(DataError, match="those of .*d/val are row numbers"):
        split_features(tmp_path / "b.parquet", tmp_path / "again", exclude=str(dataset.path / "val"))


def test_ids_and_vectors_are_never_missing_and_the_schema_says_so(container):
    imported(container({"id": NAMES}))
    schema = pq.read_schema(container({"id": NAMES}).with_name("out.parquet"))
    assert not schema.field("id").nullable
    assert not schema.field("features").nullable
    assert schema.field("features").type == vector_type(3)
    assert not schema.field("features").type.value_field.nullable


@pytest.mark.parametrize(
    ("texts", "answer"),
    [(["0", "2", "1"], True), (["0.0", "1.0"], True), (["1", "2"], False), (["0", "0"], False), (["0", "a"], False)],
)
def test_numberings(texts, answer):
    assert is_numbering(pa.array([text]) for text in texts) is answer
    assert is_numbering([]) is False


def test_keys_by_number():
    assert in_order_of_number([str(n) for n in (0, 1, 10, *range(2, 10))]) == [str(n) for n in range(11)]
    assert in_order_of_number(["1", "2"]) is None


class TestIdsOfTheirOwn:
    """`--ids rows` and `--ids FILE`."""

    @pytest.mark.parametrize("columns", [{"what": NAMES}, {"id": list(range(N)), "what": NAMES}, {}])
    def test_rows_are_numbered(self, container, columns):
        ids, of_ids, _, names = imported(container(columns), ids="rows")
        assert (ids, of_ids) == ([str(n) for n in range(N)], "row numbers")
        assert names == ["id", "features", *({*columns} - {"id"})]

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("ids.txt", "\n".join(NAMES)),
            ("ids.csv", "x,Entry\n" + "\n".join(f"1,{name}" for name in NAMES)),
            ("ids.fasta", "".join(f">{name}\nMKV\n" for name in NAMES)),
        ],
    )
    def test_a_file_lists_them(self, container, name, content, tmp_path):
        (tmp_path / name).write_text(content)
        ids, of_ids, matrix, _ = imported(container({"kind": ["a"] * N}), ids=str(tmp_path / name))
        assert (ids, of_ids) == (NAMES, name)
        np.testing.assert_array_equal(matrix, MATRIX)

    @pytest.mark.parametrize(
        ("count", "message"),
        [(N - 1, f"{N - 1} ids, but .* has more rows"), (N + 2, f"{N + 2} ids, but .* has {N} rows")],
    )
    def test_another_number_of_ids(self, container, count, message, tmp_path):
        (tmp_path / "ids.txt").write_text("\n".join(f"p{n}" for n in range(count)))
        with pytest.raises(DataError, match=f"ids.txt: {message}"):
            imported(container({}), ids=str(tmp_path / "ids.txt"))

    @pytest.mark.parametrize("shape", [(N,), (N, 1)])
    def test_an_array_lists_them(self, shape, tmp_path):
        np.save(tmp_path / "a.npy", MATRIX)
        np.save(tmp_path / "ids.npy", np.array(NAMES).reshape(shape))
        assert imported(tmp_path / "a.npy", ids=str(tmp_path / "ids.npy"))[0] == NAMES

    def test_an_index_in_another_order_is_asked_about(self, tmp_path):
        (tmp_path / "ids.txt").write_text("\n".join(NAMES))
        pd.DataFrame(MATRIX[::-1], index=range(N)[::-1]).add_prefix("f").to_csv(tmp_path / "a.csv")
        with pytest.raises(DataError, match="the index numbers the rows in another order"):
            imported(tmp_path / "a.csv", ids=str(tmp_path / "ids.txt"))

    def test_they_are_the_ids_of_several_batches(self, tmp_path, monkeypatch):
        monkeypatch.setattr("resvae_ray.data.features.BATCH_BYTES", 5 * 3 * 4)
        np.save(tmp_path / "a.npy", MATRIX)
        (tmp_path / "ids.txt").write_text("\n".join(NAMES))
        assert imported(tmp_path / "a.npy", ids=str(tmp_path / "ids.txt"))[0] == NAMES

    def test_not_beside_a_column_nor_where_each_protein_has_a_name(self, tmp_path):
        to_csv(tmp_path / "a.csv", {"id": NAMES})
        with pytest.raises(UsageError, match="--ids rows: --id-column id says where the ids are"):
            imported(tmp_path / "a.csv", ids="rows", id_column="id")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["P1"] = MATRIX[0]
        with pytest.raises(UsageError, match="--ids rows: this file holds one vector per protein"):
            imported(tmp_path / "a.h5", ids="rows")


def test_ids_of_a_column_without_a_name_are_said_to_be(tmp_path):
    frame = pd.DataFrame(MATRIX, index=NAMES).add_prefix("f")
    frame.to_csv(tmp_path / "x.csv")
    assert import_features(tmp_path / "x.csv", tmp_path / "x").found == {"ids": "from the column without a name"}
    frame.index = [*NAMES[:-1], NAMES[0]]
    frame.to_csv(tmp_path / "y.csv")
    with pytest.raises(DataError, match="'prot00' appears in .*; ids: from the column without a name; choose others"):
        import_features(tmp_path / "y.csv", tmp_path / "y")
