"""Types that hold the same are one type, and the columns of a folder do not depend on the names of its files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resvae_ray.data.checking.check import check_features
from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import DataError

N = 10
TEXTS = ["a", "b"] * (N // 2)
VECTORS = np.random.default_rng(0).normal(size=(2 * N, 4)).astype(np.float32)
KINDS = {
    "string": pa.string(),
    "large": pa.large_string(),
    "view": pa.string_view(),
    "dictionary": pa.dictionary(pa.int8(), pa.string()),
    "large dictionary": pa.dictionary(pa.int32(), pa.large_string()),
    "null": pa.null(),
}


def texts(kind):
    if pa.types.is_null(kind):
        return pa.nulls(N)
    if pa.types.is_dictionary(kind):
        return pa.array(TEXTS).dictionary_encode().cast(kind)
    return pa.array(TEXTS, kind)


def table(half, **columns):
    flat = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS[half * N : half * N + N].reshape(-1)), 4)
    ids = pa.array([f"P{half * N + n}" for n in range(N)], columns.pop("id", pa.string()))
    return pa.table({"id": ids, "features": flat, **columns})


@pytest.fixture
def folder(tmp_path):
    def write(*tables):
        (tmp_path / "in").mkdir(exist_ok=True)
        for number, part in enumerate(tables):
            pq.write_table(part, tmp_path / "in" / f"part-{number}.parquet")
        return tmp_path / "in"

    return write


@pytest.mark.parametrize("one", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_text_is_one_type(folder, tmp_path, one, other):
    path = folder(
        table(0, label=texts(KINDS[one]), note=texts(KINDS[one])),
        table(1, note=texts(KINDS[other]), label=texts(KINDS[other])),
    )
    import_features(path, tmp_path / "out.parquet")
    read = pq.read_table(tmp_path / "out.parquet")
    expected = [*texts(KINDS[one]).to_pylist(), *texts(KINDS[other]).to_pylist()]
    assert read["label"].to_pylist() == read["note"].to_pylist() == expected
    assert read.schema.field("note").type == pa.string()
    assert split_features(path, tmp_path / "d").train_rows == 16


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string()])
def test_ids_and_sequences_in_views(folder, tmp_path, kind):
    path = folder(table(0, id=kind, sequence=texts(kind), blob=pa.array([b"x"] * N, pa.binary_view())))
    for rule in ("random", "hash", "group"):
        split_features(path, tmp_path / rule, rule=rule, by="sequence" if rule == "group" else None)
    check_features(path)
    import_features(path, tmp_path / "out.parquet")
    read = pq.read_schema(tmp_path / "out.parquet")
    assert [read.field(name).type for name in ("id", "sequence", "blob")] == [pa.string(), pa.string(), pa.binary()]


def test_vectors_in_list_views(tmp_path):
    values = pa.ListViewArray.from_arrays(
        pa.array(range(0, 4 * N, 4), pa.int32()), pa.array([4] * N, pa.int32()), VECTORS[:N].reshape(-1)
    )
    pq.write_table(pa.table({"id": [f"P{n}" for n in range(N)], "embedding": values}), tmp_path / "a.parquet")
    (batch,) = Features.open(tmp_path / "a.parquet").batches()
    np.testing.assert_array_equal(batch.features, VECTORS[:N])


@pytest.mark.parametrize("order", [1, -1])
def test_numbers_widen(folder, tmp_path, order):
    whole, broken = pa.array(range(N)), pa.array([0.5, None] * (N // 2))
    path = folder(*[table(0, n=whole), table(1, n=broken)][::order])
    import_features(path, tmp_path / "out.parquet")
    values = pq.read_table(tmp_path / "out.parquet").sort_by("id")["n"].to_pylist()
    assert {0.0, 9.0, 0.5, None} <= set(values)
    assert pq.read_schema(tmp_path / "out.parquet").field("n").type == pa.float64()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("work", [import_features, split_features, lambda path, _: check_features(path)])
def test_a_column_that_one_file_lacks_is_refused_in_either_order(folder, tmp_path, order, work):
    path = folder(*[table(0), table(1, label=texts(pa.string()), species=texts(pa.string()))][::order])
    bare, full = [f"part-{n}.parquet" for n in (0, 1)][::order]
    with pytest.raises(DataError, match=f"{bare}: no column '(label|species)', which .*{full} has"):
        work(path, tmp_path / "out")


@pytest.mark.parametrize("order", [1, -1])
def test_an_index_that_one_file_lacks_is_not_a_column(folder, tmp_path, order):
    path = folder(*[table(0), table(1, __index_level_0__=pa.array(range(N)))][::order])
    assert import_features(path, tmp_path / "out.parquet").columns == ()
    assert import_features(path, tmp_path / "again.parquet").rows == 2 * N


def test_types_that_do_not_fit_are_refused(folder, tmp_path):
    path = folder(table(0, n=pa.array(range(N))), table(1, n=texts(pa.string_view())))
    with pytest.raises(DataError, match="part-1.parquet: column 'n' holds string, but int64 in .*part-0.parquet"):
        import_features(path, tmp_path / "out.parquet")
