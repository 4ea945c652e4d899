"""Workbooks as people keep them."""

import datetime
import sys
import zipfile

import openpyxl
import pyarrow.parquet as pq
import pytest
from openpyxl.worksheet._read_only import ReadOnlyWorksheet

from resvae_ray.data import features as features_module
from resvae_ray.data import workbook as workbook_module
from resvae_ray.data.importers import excel, import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError, UsageError

HEADER = ["id", "f0", "f1"]


@pytest.fixture
def write(tmp_path):
    def write(rows, header=HEADER, formats=None, sheets=("Sheet1",)):
        workbook = openpyxl.Workbook()
        workbook.remove(workbook.worksheets[0])
        for number, title in enumerate(sheets):
            sheet = workbook.create_sheet(title)
            for row in [header, *(rows if number == 0 else [["other", 8, 9]])]:
                sheet.append(row)
            for place, text in (formats or {}).items():
                sheet[place].number_format = text
        workbook.save(tmp_path / "a.xlsx")
        return tmp_path / "a.xlsx"

    return write


def imported(path, **choice):
    summary = import_features(path, path.with_suffix(".parquet"), ColumnChoice(**choice))
    return summary, pq.read_table(path.with_suffix(".parquet"))


@pytest.mark.parametrize(
    ("value", "shown", "message"),
    [
        (datetime.date(2026, 9, 1), "d-mmm", "Excel has made '2026-09-01T00:00:00' of the id, as it does of SEPT1"),
        (1e10, "0.00E+00", "the id is the number 10000000000 in the format '0.00E[+]00'.*1E10 or 007"),
        (7, "000", "the id is the number 7 in the format '000'"),
        (123456789012, "General", "the id is the number 123456789012 in the format 'General'"),
        (1.5, "General", "the id is the number 1.5"),
        (True, "General", "Excel has made 'TRUE' of the id"),
        ("#N/A", "General", "Excel has made '#N/A' of the id"),
        (12, "General", "12 is a number after ids that are text"),
    ],
)
def test_ids_that_excel_has_changed_are_refused(write, value, shown, message):
    path = write([["P1", 1, 2], [value, 3, 4]], formats={"A3": shown})
    with pytest.raises(DataError, match=f"a.xlsx: row 2, column id: {message}.*; set the column's format to Text"):
        imported(path)


def test_text_after_ids_that_are_numbers_is_refused(write):
    with pytest.raises(DataError, match="row 2, column id: 'P1' is text after ids that are numbers"):
        imported(write([[5, 1, 2], ["P1", 3, 4]]))


def test_ids_that_are_whole_numbers_are_taken_as_they_look(write):
    _, table = imported(write([[7157, 1, 2], [672, 3, 4]]))
    assert table.column("id").to_pylist() == ["7157", "672"]


def test_the_first_sheet_is_read_unless_one_is_chosen(write):
    path = write([["P1", 1, 2]], sheets=("first", "second"))
    summary, table = imported(path)
    assert (summary.found["sheet"], table.column("id").to_pylist()) == ("first", ["P1"])
    assert b'"sheet": "first"' in table.schema.metadata[b"resvae_ray"]
    path.with_suffix(".parquet").unlink()
    summary, table = imported(path, sheet="second")
    assert (summary.found["sheet"], table.column("id").to_pylist()) == ("second", ["other"])
    path.with_suffix(".parquet").unlink()
    with pytest.raises(UsageError, match=r"--sheet third: no such sheet; there are 'first', 'second'"):
        imported(path, sheet="third")


def test_other_columns_become_text(write):
    header = ["label", "when", "n", "flag", "note", *HEADER]
    rows = [[1, datetime.date(2026, 1, 2), 2.5, True, None, "P1", 1, 2], [2, None, 3, False, " x", "P2", 3, 4]]
    _, table = imported(write(rows, header=header))
    assert table.select(["label", "when", "n", "flag", "note"]).to_pylist() == [
        {"label": "1", "when": "2026-01-02T00:00:00", "n": "2.5", "flag": "TRUE", "note": None},
        {"label": "2", "when": None, "n": "3", "flag": "FALSE", "note": " x"},
    ]


def test_blank_rows_at_the_end_and_unnamed_columns_are_nothing(write):
    path = write([["P1", 1, 2], ["P2", 3, 4], [None] * 3, [None] * 3], header=[*HEADER, None], formats={"D9": "0.00"})
    assert imported(path)[0].rows == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["P1", 1, 2], [None] * 3, ["P2", 3, 4]], "row 2 is blank, and rows follow it"),
        ([["P1", 1, 2, "see"]], "row 1: a cell to the right of the header, which has 3 columns"),
        ([["P1", 1, "0,5"]], "row 1, column f1: '0,5' is not a number"),
        ([["P1", 1, "0.5"]], "row 1, column f1: '0.5' is not a number"),
        ([["P1", 1, None]], "row 1, column f1: the value is missing"),
        ([["P1", 1]], "row 1, column f1: the value is missing"),
        ([["P1", True, 1]], "row 1, column f0: 'TRUE' is not a number"),
        ([["P1", datetime.date(2026, 3, 1), 1]], "row 1, column f0: '2026-03-01T00:00:00' is not a number"),
        ([["P1", "#DIV/0!", 1]], "row 1, column f0: '#DIV/0!' is not a number"),
        ([["P1", 1e300, 1]], "row 1 .id P1., column f0: inf"),
    ],
)
def test_cells_that_are_not_features_are_named(write, rows, message):
    with pytest.raises(DataError, match=message):
        imported(write(rows))


def test_a_sheet_that_is_wrong_about_its_size_is_read_whole(write, tmp_path):
    path = write([["P1", 1, 2], ["P2", 3, 4]])
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            assert b'ref="A1:C3"' in content or "sheet1" not in name
            new.writestr(name, content.replace(b'ref="A1:C3"', b'ref="A1:B2"'))
    summary, table = imported(tmp_path / "b.xlsx")
    assert (summary.rows, summary.dim) == (2, 2)
    assert table.column("features").to_pylist() == [[1, 2], [3, 4]]


def test_rows_are_read_when_they_are_needed(write, monkeypatch):
    path = write([[f"P{n}", n, n] for n in range(100)])
    taken = []
    rows_of = ReadOnlyWorksheet.iter_rows

    def counted(sheet):
        for row in rows_of(sheet):
            taken.append(row)
            yield row

    monkeypatch.setattr(ReadOnlyWorksheet, "iter_rows", counted)
    monkeypatch.setattr(features_module, "BATCH_BYTES", 10 * 2 * 4)
    batches = excel.read(str(path), ColumnChoice())
    assert len(next(batches)) == 10
    assert len(taken) == 14  # the header twice more, and an id, which shows that the ids are not numbers


def test_archives_that_unpack_to_gigabytes_are_refused(write, monkeypatch):
    monkeypatch.setattr(workbook_module, "BESIDE_SHEETS_MOST", 100)
    with pytest.raises(DataError, match="bytes of text beside the sheets; save it as CSV"):
        imported(write([["P1", 1, 2]]))


def test_an_empty_sheet(write):
    with pytest.raises(DataError, match="sheet 'Sheet1' is empty; expected a header"):
        imported(write([], header=[]))


def test_a_choice_for_another_format_is_refused(write):
    with pytest.raises(UsageError, match="--layer 3: it chooses in .pt files alone"):
        imported(write([["P1", 1, 2]]), layer=3)


def test_the_error_names_the_package_to_install(write, monkeypatch):
    path = write([["P1", 1, 2]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(
        UsageError, match=r"reading it needs openpyxl; get it in the checkout with: pip install .*\[import\]"
    ):
        imported(path)
