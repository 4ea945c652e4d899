"""Tables beside a matrix are joined to the right rows, or asked about."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resvae_ray.data.importers import import_features
from resvae_ray.data.importers.joined_table import TablesBeside
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.errors import DataError, UsageError

N = 6
MATRIX = np.arange(N * 2, dtype=np.float32).reshape(N, 2)
IDS = [f"P1234{number}" for number in range(N)]
LABELS = ["A", "B", "A", "B", "A", "C"]


@pytest.fixture
def numbers(tmp_path):
    """Features without ids."""
    np.save(tmp_path / "x.npy", MATRIX)
    return tmp_path / "x.npy"


@pytest.fixture
def named(tmp_path):
    """Features with ids."""
    np.savez(tmp_path / "x.npz", ids=IDS, embeddings=MATRIX)
    return tmp_path / "x.npz"


def joined(source, choice=None, **tables):
    target = source.parent / "features.parquet"
    summary = import_features(source, target, choice, beside=TablesBeside(**tables))
    return summary, pq.read_table(target)


def table_file(tmp_path, ending, columns):
    frame, path = pd.DataFrame(columns), tmp_path / f"beside.{ending}"
    if ending == "parquet":
        frame.to_parquet(path, index=False)
    elif ending == "xlsx":
        frame.to_excel(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "xlsx", "parquet"])
def test_rows_without_ids_are_joined_by_position_and_get_the_ids_of_the_table(numbers, tmp_path, ending):
    path = table_file(tmp_path, ending, {"Entry": IDS, "label": LABELS, "length": range(N)})
    summary, table = joined(numbers, metadata=path)
    assert (table["id"].to_pylist(), table["label"].to_pylist()) == (IDS, LABELS)
    assert table["features"].to_pylist() == MATRIX.tolist()
    assert [int(length) for length in table["length"].to_pylist()] == list(range(N))
    assert summary.found["metadata"] == f"beside.{ending}, 6 of 6 rows by position"
    assert summary.found["ids"] == f"beside.{ending}"


@pytest.mark.parametrize("ending", ["csv", "xlsx", "parquet"])
def test_rows_with_ids_are_joined_by_id_in_any_of_its_forms(named, tmp_path, ending):
    headers = [f"sp|{name}|NAME_HUMAN some protein" for name in IDS]
    path = table_file(tmp_path, ending, {"id": [*headers[:0:-1], "Q99999"], "label": [*LABELS[:0:-1], "Z"]})
    summary, table = joined(named, labels=path)
    assert (table["id"].to_pylist(), table["label"].to_pylist()) == (IDS, [None, *LABELS[1:]])
    said = f"beside.{ending}, 5 of 6 rows by id (by accession 5), 1 rows of the table unused"
    assert summary.found["labels"] == said


def test_columns_of_parquet_keep_their_types(named, tmp_path):
    path = table_file(tmp_path, "parquet", {"id": IDS[::-1], "length": range(N), "mass": np.arange(N) / 2})
    _, table = joined(named, metadata=path)
    assert (table.schema.field("length").type, table.schema.field("mass").type) == (pa.int64(), pa.float64())
    assert table["length"].to_pylist() == list(range(N))[::-1]


def test_the_column_of_ids_may_have_any_name(named, tmp_path):
    path = table_file(tmp_path, "csv", {"protein": IDS[::-1], "note": list("abcdef")})
    assert joined(named, metadata=path)[1]["note"].to_pylist() == list("fedcba")


def test_sequences_of_a_fasta_file_are_metadata(named, tmp_path):
    path = tmp_path / "beside.fasta"
    path.write_text("".join(f">sp|{name}|X_HUMAN y\n{'MK' * (number + 1)}\n" for number, name in enumerate(IDS[::-1])))
    assert joined(named, metadata=path)[1]["sequence"].to_pylist() == ["MK" * (N - number) for number in range(N)]


def array_file(tmp_path):
    np.save(tmp_path / "y.npy", np.array([0, 1, 0, 1, 0, 2]))
    return tmp_path / "y.npy", ["0", "1", "0", "1", "0", "2"]


def text_file(tmp_path):
    (tmp_path / "y.txt").write_text("\n".join(LABELS) + "\n")
    return tmp_path / "y.txt", LABELS


def one_column(tmp_path):
    return table_file(tmp_path, "csv", {"family": LABELS}), LABELS


def with_ids(tmp_path):
    return table_file(tmp_path, "csv", {"Entry": IDS, "family": LABELS}), LABELS


@pytest.mark.parametrize("make", [array_file, text_file, one_column, with_ids])
def test_labels_in_a_file_of_their_own(numbers, tmp_path, make):
    path, expected = make(tmp_path)
    summary, table = joined(numbers, labels=path)
    assert table["label"].to_pylist() == expected
    assert table.column_names == ["id", "features", "label"]
    assert summary.label


def test_labels_are_chosen_among_several_columns(numbers, tmp_path):
    path = table_file(tmp_path, "csv", {"id": IDS, "family": LABELS, "fold": list("xyxyxy")})
    with pytest.raises(DataError, match="no column 'label'; name the labels with --label-column"):
        joined(numbers, labels=path)
    _, table = joined(numbers, ColumnChoice(label_column="fold"), labels=path)
    assert table["label"].to_pylist() == list("xyxyxy")


def test_a_label_column_of_metadata(numbers, tmp_path):
    path = table_file(tmp_path, "csv", {"id": IDS, "family": LABELS})
    assert joined(numbers, ColumnChoice(label_column="family"), metadata=path)[1]["label"].to_pylist() == LABELS


def test_labels_and_metadata_together(numbers, tmp_path):
    """The first table gives the ids by which the second one is joined."""
    labels = table_file(tmp_path, "csv", {"id": IDS, "label": LABELS})
    metadata = table_file(tmp_path, "tsv", {"id": IDS[::-1], "note": list("abcdef")})
    summary, table = joined(numbers, labels=labels, metadata=metadata)
    assert table["note"].to_pylist() == list("fedcba")
    assert (summary.found["labels"][-11:], summary.found["metadata"][-5:]) == ("by position", "by id")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"id": IDS[:5]},
            "5 rows below the header, but .*x.npy has 6; rows are joined by position only if these agree",
        ),
        ({"id": [3, 1, 0, 2, 5, 4]}, "x.npy has no ids, and those of .* only number rows; .* --join position"),
    ],
)
def test_rows_without_ids_that_fit_no_position_are_asked_for(numbers, tmp_path, columns, message):
    path = table_file(tmp_path, "csv", columns | {"label": LABELS[: len(columns["id"])]})
    with pytest.raises(DataError, match=message):
        joined(numbers, labels=path)
    assert not (tmp_path / "features.parquet").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": LABELS}, "x.npz has ids, and no column of .* is called 'id' or holds them"),
        ({"id": range(N), "label": LABELS}, "x.npz has its own ids, and those of .* only number rows"),
        ({"": range(N), "label": LABELS}, "x.npz has its own ids, and those of .* only number rows"),
        ({"id": [f"ENSP0000000000{n}" for n in range(N)], "label": LABELS}, "UniProt accessions .*, these Ensembl ids"),
        ({"id": [*IDS[:5], IDS[0]], "label": LABELS}, "rows 1 and 6 are both for id 'P12340', and differ"),
    ],
)
def test_rows_with_ids_that_fit_no_id_are_asked_for(named, tmp_path, columns, message):
    path = table_file(tmp_path, "csv", columns)
    with pytest.raises(DataError, match=message):
        joined(named, labels=path)


def test_a_table_without_a_header_is_named(named, tmp_path):
    """As MMseqs2 writes its clusters: representative and member."""
    path = tmp_path / "clusters.tsv"
    path.write_text("".join(f"{IDS[number // 2 * 2]}\t{name}\n" for number, name in enumerate(IDS)))
    with pytest.raises(DataError, match="clusters.tsv: two columns are called 'P12340'"):
        joined(named, metadata=path)
    path.write_text("".join(f"c{number // 2}\t{name}\n" for number, name in enumerate(IDS)))
    with pytest.raises(DataError, match="clusters.tsv: the first line has the id 'P12340'; expected a header"):
        joined(named, metadata=path)
    path.write_text("cluster\tmember\n" + path.read_text())
    assert joined(named, metadata=path)[1]["cluster"].to_pylist() == ["c0", "c0", "c1", "c1", "c2", "c2"]


def test_the_user_may_join_by_position_in_spite_of_ids(named, tmp_path):
    path = table_file(tmp_path, "csv", {"id": IDS[::-1], "label": LABELS})
    assert joined(named, labels=path, how="position")[1]["label"].to_pylist() == LABELS


def test_repeated_rows_that_say_the_same_are_one(named, tmp_path):
    path = table_file(tmp_path, "csv", {"id": [*IDS, IDS[0]], "label": [*LABELS, LABELS[0]]})
    assert joined(named, labels=path)[1]["label"].to_pylist() == LABELS


def test_chosen_numbers_stay_the_ids(named, tmp_path):
    path = table_file(tmp_path, "csv", {"accession": IDS, "label": LABELS})
    _, table = joined(named, ColumnChoice(ids="rows"), metadata=path)
    assert (table["id"].to_pylist(), table["accession"].to_pylist()) == ([str(n) for n in range(N)], IDS)


def test_a_column_that_both_have_is_refused(tmp_path):
    pd.DataFrame({"id": IDS, "length": range(N), "f0": 1.0, "f1": 2.0}).to_csv(tmp_path / "x.csv", index=False)
    path = table_file(tmp_path, "tsv", {"id": IDS, "length": range(N)})
    with pytest.raises(DataError, match=r"beside.tsv: column 'length' is also in .*x.csv; rename or remove one"):
        joined(tmp_path / "x.csv", metadata=path)


def test_wrong_usage(numbers, tmp_path):
    (tmp_path / "y.txt").write_text("A\n" * N)
    with pytest.raises(UsageError, match="a list without a header; --labels reads it as labels, --ids as ids"):
        joined(numbers, metadata=tmp_path / "y.txt")
    for tables in ({"how": "id"}, {"labels": tmp_path / "y.txt", "how": "order"}):
        with pytest.raises(UsageError, match="expected id or position, with --labels or --metadata"):
            joined(numbers, **tables)
    np.save(tmp_path / "z.npy", np.zeros((N, 2)))
    with pytest.raises(DataError, match=r"z.npy: an array of shape \(6, 2\); expected one label per row"):
        joined(numbers, labels=tmp_path / "z.npy")


@pytest.mark.parametrize("column", ["row", "Unnamed: 0", "index"])
def test_rows_that_a_column_numbers_in_another_order_are_asked_about(numbers, tmp_path, column):
    path = table_file(tmp_path, "csv", {column: range(N)[::-1], "label": LABELS})
    with pytest.raises(DataError, match="--join position"):
        joined(numbers, labels=path)
    assert joined(numbers, labels=path, how="position")[1]["label"].to_pylist() == LABELS


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("index", [True, False])
def test_labels_of_rows_in_order_are_not_those_of_shuffled_rows(ending, index, tmp_path):
    order = [2, 0, 1, 5, 4, 3]
    frame = pd.DataFrame(MATRIX, index=order).add_prefix("f")
    source = tmp_path / f"x.{ending}"
    frame.to_csv(source) if ending == "csv" else frame.to_parquet(source)
    labels = tmp_path / "labels.csv"
    pd.DataFrame({"label": LABELS}).to_csv(labels, index=index)
    with pytest.raises(DataError, match="its row numbers are not in order"):
        joined(source, labels=labels)
    assert joined(source, labels=labels, how="position")[1]["label"].to_pylist() == LABELS
    (tmp_path / "features.parquet").unlink()
    pd.DataFrame({"label": LABELS}, index=order).to_csv(labels)
    assert joined(source, labels=labels)[1]["label"].to_pylist() == LABELS


def test_labels_of_mutants_are_not_those_of_the_protein(named, tmp_path):
    path = table_file(tmp_path, "csv", {"id": [f"{name}_A12V" for name in IDS], "label": LABELS})
    with pytest.raises(DataError, match="none of its ids is one of"):
        joined(named, labels=path)
