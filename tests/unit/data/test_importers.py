"""One conformance class for all readers, and what is special to each format."""

import gc
import tracemalloc
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats import FORMATS, write_delimited, write_fixed

from resvae_ray.data import features as features_module
from resvae_ray.data import text_table
from resvae_ray.data.features import Features
from resvae_ray.data.importers import READERS, import_features, reader_for
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.schema import vector_type
from resvae_ray.errors import DataError, UsageError

IDS = [f"P{number:02d}" for number in range(20)]
LABELS = ["a", "b"] * 10
DAMAGES = 25  # of each kind, to each format
TEXT_ENDINGS = (".csv", ".tsv", ".txt")
CHECKED = ".gz"  # has a checksum of all that is read; other formats have one of a part, or of nothing


def test_every_reader_is_put_to_the_test():
    untested = {ending for ending in READERS if not any(name.endswith(ending) for name in FORMATS)}
    assert untested == {".npy", ".xlsm"}  # the reader of .npz and that of .xlsx


@pytest.mark.parametrize("name", FORMATS)
class TestReaderConformance:
    @pytest.fixture
    def source(self, name, tmp_path):
        return tmp_path / name

    @pytest.fixture
    def write(self, name):
        return lambda path, matrix, ids=IDS, labels=LABELS: FORMATS[name].write(path, matrix, list(ids), list(labels))

    def imported(self, source, tmp_path):
        summary = import_features(source, tmp_path / "out.parquet")
        return summary, pa.Table.from_batches(pq.ParquetFile(tmp_path / "out.parquet").iter_batches())

    def test_ids_labels_order_and_numbers_are_kept(self, name, source, write, matrix, tmp_path):
        write(source, matrix)
        summary, table = self.imported(source, tmp_path)
        labels = FORMATS[name].labels
        assert (summary.rows, summary.dim, summary.label) == (20, 6, labels)
        assert table.column_names == ["id", "features", *["label"] * labels]
        assert table.column("id").to_pylist() == IDS
        if labels:
            assert table.column("label").to_pylist() == LABELS
        assert table.schema.field("features").type == vector_type(6)
        exact = matrix.astype(np.float16).astype(np.float32) if "half" in source.name else matrix
        np.testing.assert_array_equal(np.stack(table.column("features").to_numpy()), exact)

    def test_batch_memory_is_bounded(self, name, source, write, matrix, small_batches):
        many = np.tile(matrix, (20, 1))
        write(source, many, ids_of(len(many)), ["x"] * len(many))
        batches = list(reader_for(str(source))(str(source), ColumnChoice()))
        assert max(map(len, batches)) <= 80
        assert {batch.features.dtype for batch in batches} == {np.dtype(np.float32)}
        assert pa.concat_arrays([batch.ids for batch in batches]).to_pylist() == ids_of(len(many))
        exact = many.astype(np.float16).astype(np.float32) if "half" in source.name else many
        np.testing.assert_array_equal(np.concatenate([batch.features for batch in batches]), exact)

    @pytest.mark.timeout(60)
    def test_memory_does_not_grow_with_the_file(self, name, source, write, tmp_path, monkeypatch):
        if FORMATS[name].memory:
            pytest.skip(FORMATS[name].memory)
        rows, dim = FORMATS[name].shape
        matrix = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
        monkeypatch.setattr(features_module, "BATCH_BYTES", matrix.nbytes // 20)
        monkeypatch.setattr(text_table, "BLOCK_BYTES", 2000)
        part = tmp_path / f"part-{name}"
        write(part, matrix[: rows // 5], ids_of(rows // 5), ["x"] * (rows // 5))
        write(source, matrix, ids_of(rows), ["x"] * rows)
        for _ in reader_for(str(part))(str(part), ColumnChoice()):
            pass  # what is loaded once is loaded
        growth = peak_of(source) - peak_of(part)
        assert growth < matrix.nbytes * 4 / 5 / 3

    def test_nan_is_named_by_row_and_column(self, source, write, matrix, tmp_path):
        matrix[11, 4] = np.nan
        write(source, matrix)
        self.refused(source, tmp_path, r"row 12.*(P11.*)?column (ESM2_cls4|f4|(features|embedding)\[4\])")

    def test_infinity_is_refused(self, source, write, matrix, tmp_path):
        matrix[3, 0] = -np.inf
        write(source, matrix)
        self.refused(source, tmp_path, r"row 4( \(id P03\))?, column (ESM2_cls0|f0|features\[0\]): .?-inf")

    def test_an_id_twice_is_refused(self, source, write, matrix, tmp_path):
        write(source, matrix, ids=[*IDS[:19], "P05"])
        self.refused(source, tmp_path, "id 'P05' appears in row 6 and in row 20")

    def test_a_missing_id_is_refused(self, source, write, matrix, tmp_path):
        write(source, matrix, ids=[*IDS[:7], "", *IDS[8:]])
        self.refused(source, tmp_path, "row 8: the id is missing")

    def test_no_rows_are_refused(self, source, write, matrix, tmp_path):
        write(source, matrix[:0], ids=[], labels=[])
        self.refused(source, tmp_path, "no rows|empty|no .pt file")

    def test_an_empty_file_is_refused(self, source, write, matrix, tmp_path):
        source.write_bytes(b"")
        self.refused(source, tmp_path, "empty|not a readable")

    def test_a_truncated_file_is_refused(self, source, write, matrix, tmp_path):
        write(source, matrix)
        last = max(path for path in source.rglob("*.p*t*")) if source.is_dir() else source
        whole = last.read_bytes()
        last.write_bytes(whole[: len(whole) * 2 // 3])
        self.refused(source, tmp_path, "not a readable|ends too early|fields|truncated|cannot be read|damaged")

    def test_files_of_random_bytes_are_refused(self, source, write, matrix, tmp_path):
        source.write_bytes(np.random.default_rng(0).bytes(5000))
        self.refused(source, tmp_path, "not a readable|not UTF-8|cannot be read|no id column")

    def test_no_such_file(self, source, write, matrix, tmp_path):
        self.refused(source, tmp_path, "no such file")

    def test_missing_id_column(self, source, write, matrix, tmp_path):
        write(source, matrix)
        with pytest.raises(UsageError, match="--id-column uniprot"):
            import_features(source, tmp_path / "out.parquet", ColumnChoice(id_column="uniprot"))

    def test_an_existing_target_is_left_alone(self, source, write, matrix, tmp_path):
        write(source, matrix)
        (tmp_path / "out.parquet").write_text("mine")
        with pytest.raises(UsageError, match="already there"):
            import_features(source, tmp_path / "out.parquet")
        assert (tmp_path / "out.parquet").read_text() == "mine"

    @pytest.mark.timeout(60)
    def test_damage_is_refused_and_never_a_lie(self, name, source, write, matrix, tmp_path):
        """Cut anywhere, or with bits flipped: refused in words, or read as it was, where the format can tell."""
        write(source, matrix)
        place = max(path for path in source.rglob("*.p*t*")) if source.is_dir() else source
        whole, draw = place.read_bytes(), np.random.default_rng(zlib.crc32(name.encode()))
        for cut in draw.integers(1, len(whole), DAMAGES):
            place.write_bytes(whole[:cut])
            rows = self.rows_if_read(source, tmp_path)
            # Text that ends at the end of a line, or within the last number of one, is whole to who reads it.
            kept = rows[:-1] if rows and source.suffix in TEXT_ENDINGS else rows
            assert kept is None or kept == expected_rows(name, matrix)[: len(kept)]
            assert rows is None or len(rows) == 20 or source.suffix in TEXT_ENDINGS
        for spot, bit in zip(draw.integers(0, len(whole), DAMAGES), draw.integers(0, 8, DAMAGES), strict=True):
            damaged = bytearray(whole)
            damaged[spot] ^= 1 << bit
            place.write_bytes(damaged)
            rows = self.rows_if_read(source, tmp_path)
            assert rows is None or source.suffix != CHECKED or rows == expected_rows(name, matrix)

    def rows_if_read(self, source, tmp_path):
        out = tmp_path / "out.parquet"
        out.unlink(missing_ok=True)
        try:
            import_features(source, out)
        except (DataError, UsageError):
            assert not out.exists()
            return None
        table = pq.read_table(out)
        return list(zip(table["id"].to_pylist(), table["features"].to_pylist(), strict=True))

    def refused(self, source, tmp_path, message):
        before = set(tmp_path.iterdir())
        with pytest.raises(DataError, match=message) as caught:
            import_features(source, tmp_path / "out.parquet")
        assert source.name in str(caught.value)
        assert set(tmp_path.iterdir()) == before


def expected_rows(name, matrix):
    exact = matrix.astype(np.float16).astype(np.float32) if "half" in name else matrix
    return list(zip(IDS, exact.tolist(), strict=True))


def ids_of(rows):
    return [f"P{number:05d}" for number in range(rows)]


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(features_module, "BATCH_BYTES", 50 * 6 * 4)
    monkeypatch.setattr(text_table, "BLOCK_BYTES", 4000)


def peak_of(source):
    """The most bytes that Python and NumPy held while the file was read, and Arrow between two batches."""
    gc.collect()
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        held = max(pa.total_allocated_bytes() for _ in reader_for(str(source))(str(source), ColumnChoice()))
        return tracemalloc.get_traced_memory()[1] + held - before
    finally:
        tracemalloc.stop()


def test_other_columns_pass_through_untouched(matrix, tmp_path):
    np.savez(tmp_path / "a.npz", emb=matrix, pos=np.arange(20, dtype=np.int16), fitness=np.linspace(0, 1, 20))
    import_features(tmp_path / "a.npz", tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column("pos").to_pylist() == list(range(20))
    assert table.schema.field("pos").type == pa.int16()
    assert table.column("id").to_pylist() == [str(row) for row in range(20)]


def test_csv_text_stays_unchanged(tmp_path):
    (tmp_path / "a.csv").write_text('id,note,f0,f1\n007,"1,5",1,2\n1e5, x ,3,4\nNA,NaN,5,6\n')
    import_features(tmp_path / "a.csv", tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column("id").to_pylist() == ["007", "1e5", "NA"]
    assert table.column("note").to_pylist() == ["1,5", " x ", "NaN"]


@pytest.mark.parametrize(
    ("text", "choice", "message"),
    [
        ("id,f0,f1\na,1,2\nb,oops,4\n", {}, "row 2, column f0: 'oops' is not a number"),
        ("id,f0,f1\na,1,2\nb,3\n", {}, "row 2: 2 fields, but the header has 3"),
        ("id,f0,f1\na,1,2\nb,,4\n", {}, "row 2, column f0: the value is missing"),
        ("id,f0,f2\na,1,2\n", {}, "column f1 is missing"),
        ("id,f0,f1,f1\na,1,2,3\n", {}, "two columns are called 'f1'"),
        ("id,f0,f00\na,1,2\n", {}, "have the same number"),
        ("who,f0,f1\na,1,2\n", {}, "no id column"),
        ("id,x,y\na,1,2\n", {}, "no numbered columns among 'id', 'x', 'y'"),
        (
            "id,f0,f1,g0,g1\na,1,2,3,4\n",
            {},
            "families of numbered columns; choose with `import --prefix`: 'f', 'g'",
        ),
        ("id,f0,f1\na,1,2\n", {"prefix": "ESM2_cls"}, "--prefix ESM2_cls: no column ESM2_cls0"),
        ("id,f0,f1,features\na,1,2,3\n", {}, "column 'features' is neither the id"),
        ("\n", {}, "empty"),
    ],
)
def test_mistakes_in_a_csv_are_named(text, choice, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises((DataError, UsageError), match=message):
        import_features(tmp_path / "a.csv", tmp_path / "a.parquet", ColumnChoice(**choice))
    assert not (tmp_path / "a.parquet").exists()


def test_a_prefix_chooses_and_the_other_family_passes_through(tmp_path):
    (tmp_path / "a.csv").write_text("id,f0,f1,g0,g1\na,1,2,3,4\n")
    import_features(tmp_path / "a.csv", tmp_path / "a.parquet", ColumnChoice(prefix="g"))
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column("features").to_pylist() == [[3, 4]]
    assert table.column_names == ["id", "features", "f0", "f1"]


def test_a_csv_larger_than_a_block_streams(tmp_path, monkeypatch, matrix):
    monkeypatch.setattr("resvae_ray.data.text_table.BLOCK_BYTES", 1000)
    many = np.tile(matrix, (50, 1))
    ids = [f"P{number:04d}" for number in range(len(many))]
    write_delimited(tmp_path / "a.csv", many, ids, ["x"] * len(many))
    import_features(tmp_path / "a.csv", tmp_path / "a.parquet")
    features = Features.open(tmp_path / "a.parquet")
    np.testing.assert_array_equal(np.concatenate([batch.features for batch in features.batches()]), many)


def test_vectors_of_two_widths_are_refused(tmp_path):
    column = pa.array([[1.0, 2.0]] * 4 + [[1.0, 2.0, 3.0]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": list("abcde"), "features": column}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="row 5, column features: 3 numbers, but 2 in row 1"):
        import_features(tmp_path / "a.parquet", tmp_path / "b.parquet")


def test_files_of_two_widths_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    for name, width in (("a", 2), ("b", 3)):
        column = pa.array([[1.0] * width], pa.list_(pa.float32()))
        pq.write_table(pa.table({"id": [name], "features": column}), tmp_path / "in" / f"{name}.parquet")
    with pytest.raises(DataError, match="b.parquet: row 1: a vector of 3 numbers, but 2"):
        import_features(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_whose_other_columns_differ_are_refused(tmp_path, matrix):
    (tmp_path / "in").mkdir()
    for name, extra in (("a", 1), ("b", "text")):
        column = pa.FixedSizeListArray.from_arrays(pa.array(matrix[0]), 6)
        pq.write_table(pa.table({"id": [name], "features": column, "n": [extra]}), tmp_path / "in" / f"{name}.parquet")
    with pytest.raises(DataError, match="b.parquet: column 'n' holds string, but int64"):
        import_features(tmp_path / "in", tmp_path / "out")


def test_a_folder_becomes_a_folder(tmp_path, matrix):
    (tmp_path / "in").mkdir()
    for number in range(3):
        write_fixed(tmp_path / "in" / f"{number}.parquet", matrix, [f"{number}-{i}" for i in IDS], LABELS)
    summary = import_features(tmp_path / "in", tmp_path / "out")
    assert summary.rows == 60
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["part-00000.parquet"]


def test_pickled_arrays_are_not_loaded(tmp_path, matrix):
    np.savez(tmp_path / "a.npz", embeddings=matrix, ids=np.array(IDS, dtype=object))
    with pytest.raises(DataError, match="pickled"):
        import_features(tmp_path / "a.npz", tmp_path / "a.parquet")


def test_labels_become_text(matrix, tmp_path):
    np.savez(tmp_path / "a.npz", emb=matrix, label=np.arange(20))
    import_features(tmp_path / "a.npz", tmp_path / "a.parquet")
    category = pa.array(LABELS).dictionary_encode()
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), 6)
    pq.write_table(pa.table({"id": pa.array(range(20)), "label": category, "features": column}), tmp_path / "b.parquet")
    import_features(tmp_path / "b.parquet", tmp_path / "c.parquet")
    for name, labels in (("a", [str(n) for n in range(20)]), ("c", LABELS)):
        table = pq.read_table(tmp_path / f"{name}.parquet")
        assert table.schema.field("label").type == pa.string()
        assert table.column("label").to_pylist() == labels
        assert table.column("id").to_pylist() == [str(n) for n in range(20)]


def test_ids_that_have_no_text_are_refused(matrix, tmp_path):
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), 6)
    pq.write_table(pa.table({"id": [[1]] * 20, "features": column}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column id holds list<.*>; expected text"):
        import_features(tmp_path / "a.parquet", tmp_path / "b.parquet")


def test_files_that_differ_in_whether_a_value_may_be_missing_fit_together(matrix, tmp_path):
    (tmp_path / "in").mkdir()
    for name, nullable in (("a", True), ("b", False)):
        fields = [
            pa.field("id", pa.string()),
            pa.field("n", pa.int64(), nullable),
            pa.field("features", pa.list_(pa.float32())),
        ]
        rows = [pa.array([name]), pa.array([1]), pa.array([list(matrix[0])], pa.list_(pa.float32()))]
        pq.write_table(pa.table(rows, schema=pa.schema(fields)), tmp_path / "in" / f"{name}.parquet")
    assert import_features(tmp_path / "in", tmp_path / "out.parquet").rows == 2


def test_arrays_of_another_byte_order(matrix, tmp_path):
    np.savez(tmp_path / "a.npz", emb=matrix.astype(">f4"), pos=np.arange(20, dtype=">i4"))
    import_features(tmp_path / "a.npz", tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    np.testing.assert_array_equal(np.stack(table.column("features").to_numpy()), matrix)
    assert table.column("pos").to_pylist() == list(range(20))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.ones((3, 2)), "b": np.ones((3, 2))}, "several matrices"),
        ({"a": np.ones(3)}, "no two-dimensional array"),
        ({"emb": np.ones((2, 2)), "phase": np.ones(2, dtype=complex)}, "'phase' holds complex128"),
        ({"emb": np.ones((3, 2)), "ids": np.array(["a", "b"])}, "'ids' has 2 entries for 3 rows"),
    ],
)
def test_mistakes_in_an_archive_are_named(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        import_features(tmp_path / "a.npz", tmp_path / "a.parquet")


def test_npy_rows_are_numbered(tmp_path, matrix):
    np.save(tmp_path / "a.npy", matrix.astype(np.float64))
    assert import_features(tmp_path / "a.npy", tmp_path / "a.parquet").dim == 6
    np.save(tmp_path / "b.npy", matrix[0])
    with pytest.raises(DataError, match=r"shape \(6,\)"):
        import_features(tmp_path / "b.npy", tmp_path / "b.parquet")


def test_a_truncated_archive_is_refused(tmp_path, matrix):
    np.save(tmp_path / "a.npy", matrix)
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-10])
    with pytest.raises(DataError, match="ends too early"):
        import_features(tmp_path / "a.npy", tmp_path / "a.parquet")


def test_a_float64_too_large_for_float32_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, 1e300]]))
    with pytest.raises(DataError, match=r"column features\[1\]: inf"):
        import_features(tmp_path / "a.npy", tmp_path / "a.parquet")


def test_an_unknown_ending_names_the_known_ones(tmp_path):
    (tmp_path / "a.docx").touch()
    for name, message in (("a.feather", "Arrow IPC"), ("a.jsonl.gz", "JSON"), ("a.safetensors", r"torch\.save")):
        (tmp_path / name).write_bytes(b"\xff\0")
        with pytest.raises(UsageError, match=f"{message}.*"):
            reader_for(str(tmp_path / name))
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(UsageError, match="Zarr, which is not read; write NPZ"):
        reader_for(f"{tmp_path}/a.zarr/")
    with pytest.raises(UsageError, match="unknown format; the endings read are .parquet"):
        import_features(tmp_path / "a.docx", tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "rows", "dim"),
    [
        ("amp_esm2_8m_mean320.npz", 3309, 320),
        ("tem1_esm2_8m_mean320.npz", 5198, 320),
        ("tf_rt_esm2_650m_mean1280.csv", 205, 1280),
    ],
)
def test_real_features(shared, name, rows, dim, tmp_path):
    summary = import_features(shared / "data" / name, tmp_path / "out.parquet")
    assert (summary.rows, summary.dim) == (rows, dim)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [name for name in FORMATS if "half" not in name])
@pytest.mark.parametrize(("real", "rows"), [("amp_esm2_8m_mean320.npz", 100), ("tf_rt_esm2_650m_mean1280.csv", 20)])
def test_real_features_are_the_same_through_every_format(shared, real, rows, name, tmp_path):
    import_features(shared / "data" / real, tmp_path / "direct.parquet")
    direct = pq.read_table(tmp_path / "direct.parquet").slice(0, rows)
    matrix = np.stack(direct.column("features").to_numpy())
    labels = direct.column("label").to_pylist() if "label" in direct.column_names else ["none"] * rows
    FORMATS[name].write(tmp_path / name, matrix, direct.column("id").to_pylist(), labels)
    import_features(tmp_path / name, tmp_path / "out.parquet")
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.column("id").equals(direct.column("id"))
    assert np.stack(out.column("features").to_numpy()).tobytes() == matrix.tobytes()
    if FORMATS[name].labels:
        assert out.column("label").to_pylist() == labels


@pytest.mark.parametrize("shape", ["(1, 1000000000000)", "(1000000, 1000000)"])
@pytest.mark.parametrize("by_column", [False, True])
def test_an_array_larger_than_its_file_is_not_made(shape, by_column, tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": by_column, "shape": tuple(map(int, shape.strip("()").split(",")))}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"few")
    with pytest.raises(DataError, match="a.npy: the file ends too early for an array of 10+ x 10+|of 1 x 10+"):
        import_features(tmp_path / "a.npy", tmp_path / "a.parquet")


def test_vectors_without_numbers_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 0), np.float32))
    with pytest.raises(DataError, match="a.npy: vectors without numbers"):
        import_features(tmp_path / "a.npy", tmp_path / "a.parquet")
