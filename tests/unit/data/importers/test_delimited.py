"""Tables as spreadsheets, R and pandas leave them."""

import gzip

import pyarrow.parquet as pq
import pytest

from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError

PLAIN = "id,label,f0,f1\nP1,a,0.5,-1.25\nP2,b,2,3e-5\n"


def imported(path, **choice):
    import_features(path, path.parent / "out.parquet", ColumnChoice(**choice))
    return pq.read_table(path.parent / "out.parquet")


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.csv", PLAIN.replace(",", ";"), "utf-8"),
        ("a.csv", PLAIN.replace(",", ";").replace(".", ","), "utf-8"),
        ("a.csv", PLAIN.replace(",", "\t"), "utf-8"),
        ("a.txt", PLAIN.replace(",", "\t"), "utf-8"),
        ("a.txt", PLAIN.replace(",", "\t").replace(".", ","), "utf-16"),
        ("a.tsv", PLAIN, "utf-8"),
        ("a.csv", PLAIN, "utf-8-sig"),
        ("a.csv", PLAIN, "utf-16"),
        ("a.csv", PLAIN.replace("\n", "\r\n"), "utf-8"),
        ("a.csv", PLAIN.replace("\n", "\r\n"), "utf-8-sig"),
        ("a.csv", PLAIN.replace("\n", "\r\n"), "utf-16"),
        ("a.csv", PLAIN.rstrip("\n"), "utf-8"),
        ("a.csv", PLAIN + "\n\r\n\n", "utf-8"),
        ("a.csv", PLAIN.replace("id,", ",", 1), "utf-8"),
        ("a.csv", PLAIN.replace("0.5", '"0.5"').replace("label", '"label"').replace("P1", '"P1"'), "utf-8"),
        ("a.csv", PLAIN.replace("0.5", '"0,5"').replace("-1.25", '"-1,25"'), "utf-8"),
        ("A.CSV", PLAIN, "utf-8"),
        ("Ä ö ü table (1).csv", PLAIN, "utf-8"),
    ],
)
def test_one_table_in_many_clothes(name, text, encoding, tmp_path):
    (tmp_path / name).write_bytes(text.encode(encoding))
    table = imported(tmp_path / name)
    assert table.column("id").to_pylist() == ["P1", "P2"]
    assert table.column("label").to_pylist() == ["a", "b"]
    assert table.column("features").to_pylist() == [[0.5, -1.25], [2, pytest.approx(3e-5)]]


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ", "a.txt.gz"])
def test_gzip(name, tmp_path):
    (tmp_path / name).write_bytes(gzip.compress(PLAIN.encode("utf-8-sig")))
    assert imported(tmp_path / name).column("id").to_pylist() == ["P1", "P2"]


def test_ids_with_delimiters_and_line_ends_in_quotes(tmp_path):
    (tmp_path / "a.csv").write_text('"id","f0","f1"\n"sp|P1, human",1,2\n"a;b",3,4\n"c""d",5,6\n')
    assert imported(tmp_path / "a.csv").column("id").to_pylist() == ["sp|P1, human", "a;b", 'c"d']


def test_a_text_that_looks_like_a_decimal_comma_changes_no_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("id;note;f0;f1\nP1;1,5;0.25;2\n")
    table = imported(tmp_path / "a.csv")
    assert table.column("note").to_pylist() == ["1,5"]
    assert table.column("features").to_pylist() == [[0.25, 2]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PLAIN.encode("utf-16-le"), "not UTF-8 text .the first line has zero bytes.; save it as UTF-8"),
        ("id,label,f0,f1\nP1,Zytösol,1,2\n".encode("latin-1"), "not UTF-8 text"),
        ("id,Länge,f0,f1\nP1,7,1,2\n".encode("latin-1"), "not UTF-8 text.*save it as UTF-8"),
        (
            b"id;f0;f1\nP1;1;2\nP2;0,5;1\n",
            "row 2, column f0: '0,5' is not a number; write numbers with",
        ),
        (b"id,f0,f1\nP1,0.5,1\nP2,0,5,1\n", "row 2: 4 fields, but the header has 3"),
        (b"P1,0.25,0.5\nP2,0.1,0.2\n", "the first line has the number 0.25; expected a header with the column names"),
        (b"sep=;\nid;f0;f1\nP1;1;2\n", "the first line is 'sep=', which is for Excel alone; remove it"),
        (b"id,f0,f1\nP1,1,2\n,,\n", "row 2, column f0: the value is missing"),
        (b"id,f0,f1\nP1,1,2\nP2,NA,2\n", "row 2, column f0: the value is missing"),
        (b"id,f0,f1\nP1,1,2\n\nP1,3,4\n", "id 'P1' appears in row 1 and in row 2"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"\xff\xfe", "the file is empty"),
        (b'id,embedding\nP1,"0.1 and 0.2"\n', "no column of vectors and no numbered columns among 'id', 'embedding'"),
    ],
)
def test_the_error_names_the_input_and_the_fix(content, message, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        imported(tmp_path / "a.csv")


def test_a_field_longer_than_the_csv_module_takes(tmp_path):
    (tmp_path / "a.csv").write_text(f"id,sequence,f0,f1\nP1,{'M' * 200_000},1,2\n")
    assert len(imported(tmp_path / "a.csv").column("sequence")[0].as_py()) == 200_000


def test_the_ending_decides_between_delimiters_that_are_as_frequent(tmp_path):
    (tmp_path / "a.tsv").write_text("id\tf0\tf1\tnote, two, three, four\nP1\t1\t2\tx\n")
    assert imported(tmp_path / "a.tsv").column("features").to_pylist() == [[1, 2]]
