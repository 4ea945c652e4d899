"""Well-formed files of any shape: what is read is what a plain reading gives, and all else is refused in words."""

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reader import READ, REFUSED
from rounds import LONG, tries

pytestmark = pytest.mark.timeout(3600)

FOUND = settings(
    max_examples=tries(8, 300),
    deadline=None,
    database=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = st.sampled_from(["id", "label", "f0", "f1", "f2", "f01", "features", "g1", "note", "", "seq"])
ODD = ["", "1", "-2.5", "1e39", "nan", "inf", "P1", "P2", "1,5", '"', "a\nb", "\0", "\ufeff", " 3", "0x1p3"]
CELLS = st.one_of(st.sampled_from(ODD), st.floats(width=32).map(repr), st.text(max_size=4))
LINES = [">", ">a", ">b c", "MKV", "mk v", "", ";x", "*", "M*", "1", "-", "é"]
NUMBERS = st.sampled_from(["<f4", "<f8", "<f2", ">f4", "<i8", "|u1", "|b1", "<c8"])


def read(reader, name, write):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        outcome = reader.read("import", path)
        assert outcome.kind in (READ, REFUSED), outcome
        assert outcome.kind == READ or name in outcome.text, outcome.text
        return outcome.rows if outcome.kind == READ else None


def as_vector(text):
    return [float(number) for number in text.strip("[]").split(",")]


@FOUND
@given(
    names=st.lists(NAMES, min_size=1, max_size=5),
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=4),
    sign=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    ragged=st.booleans(),
)
def test_csv(names, rows, sign, encoding, ragged, reader):
    rows = rows if ragged else [(row * 5)[: len(names)] for row in rows]
    text = io.StringIO()
    csv.writer(text, delimiter=sign).writerows([names, *rows])
    found = read(reader, "a.csv", lambda path: path.write_bytes(text.getvalue().encode(encoding, "replace")))
    if found is not None:
        assert len(found) == len(rows)
        place = next(p for name in ("id", "") for p, n in enumerate(names) if n == name)
        assert [row[0] for row in found] == [
            str(row[place]).encode(encoding, "replace").decode(encoding) for row in rows
        ]


@FOUND
@given(
    matrix=hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
    ids=st.lists(st.text(max_size=3), max_size=4),
    other=hnp.arrays(st.sampled_from(["<i2", "<U3", "S2", "<M8[D]", "<f4"]), st.integers(0, 4)),
    by_column=st.booleans(),
)
def test_npz(matrix, ids, other, by_column, reader):
    held = np.asfortranarray(matrix) if by_column else matrix
    found = read(reader, "a.npz", lambda path: np.savez(path, emb=held, ids=np.array(ids, dtype=str), other=other))
    if found is not None:
        assert [row[0] for row in found] == np.array(ids, dtype=str).tolist()
        np.testing.assert_array_equal([as_vector(row[1]) for row in found], matrix.astype(np.float32))


TYPES = [pa.float32(), pa.float64(), pa.float16(), pa.int32(), pa.bool_(), pa.string()]
VALUES = {pa.string(): st.text(max_size=2), pa.bool_(): st.booleans(), pa.int32(): st.integers(-(2**31), 2**31 - 1)}


@st.composite
def columns(draw, rows):
    kind = draw(st.sampled_from(TYPES))
    value = VALUES.get(kind, st.floats(width=16))
    if draw(st.booleans()):
        value = st.none() | value
    if draw(st.booleans()):
        width = draw(st.integers(0, 3))
        value = st.lists(value, min_size=draw(st.integers(0, width)), max_size=width)
        kind = pa.list_(kind)
        if draw(st.booleans()):
            value = st.none() | value
    return pa.array(draw(st.lists(value, min_size=rows, max_size=rows)), kind)


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 4))
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    ids = pa.array(draw(st.lists(st.none() | st.text(max_size=2), min_size=rows, max_size=rows)), pa.string())
    held = {name: draw(columns(rows)) for name in names if name != "id"}
    return pa.table({"id": ids} | held)


@FOUND
@given(table=tables(), compression=st.sampled_from(["none", "snappy", "zstd", "gzip"]), groups=st.integers(1, 3))
def test_parquet(table, compression, groups, reader):
    def write(path):
        pq.write_table(table, path, compression=compression, row_group_size=groups)

    found = read(reader, "a.parquet", write)
    if found is not None:
        assert [row[0] for row in found] == table.column("id").to_pylist()
        assert all(np.isfinite(as_vector(row[1])).all() for row in found)


@FOUND
@given(text=st.lists(st.sampled_from(LINES), max_size=8))
def test_fasta(text, reader):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.fasta"
        path.write_text("\n".join(text))
        outcome = reader.read("proteins", path)
    assert outcome.kind in (READ, REFUSED), outcome
    if outcome.kind == READ:
        assert len(outcome.rows) == sum(line.startswith(">") for line in text)
        assert all(letters.isalpha() and letters.isupper() for _, letters in outcome.rows)
