import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resvae_ray.cli import main
from resvae_ray.data.column_tables import DelimitedTable
from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.other_tables import open_table
from resvae_ray.data.splitting import exclude as exclude_module
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import DataError, UsageError
from tests.formats import FORMATS


def ids_of(path):
    return [name for batch in Features.open(path).ids() for name in batch.to_pylist()]


def write_with_sequences(path, ids, sequences):
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(len(ids) * 2, dtype=np.float32)), 2)
    pq.write_table(pa.table({"id": ids, "Sequence": sequences, "features": column}), path)


def write_vectors(path, matrix, prefix="p"):
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.astype(np.float32).reshape(-1)), matrix.shape[1])
    pq.write_table(pa.table({"id": [f"{prefix}{n}" for n in range(len(matrix))], "features": column}), path)
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "xlsx"])
def test_a_leak_is_refused_or_dropped(ending, tmp_path):
    write_with_sequences(tmp_path / "f.parquet", list("abcdefgh"), ["M", "MA", "MB", "MC", "MD", "ME", "MF", "MG"])
    other = tmp_path / f"test.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table({"Entry": ["b", "z"], "sequence": ["QQ", "MF"]}), other)
    elif ending == "xlsx":
        pd.DataFrame({"Entry": ["b", "z"], "sequence": ["QQ", "MF"]}).to_excel(other, index=False)
    else:
        sep = "," if ending == "csv" else "\t"
        other.write_text(f"Entry_ID{sep}Sequence{sep}label\nb{sep}QQ{sep}x\nz{sep}MF{sep}y\n")
    with pytest.raises(DataError, match=r"2 rows also appear in .* \(1 by id, 1 by sequence\), the first is row 2"):
        split_features(tmp_path / "f.parquet", tmp_path / "dataset", exclude=other)
    assert not (tmp_path / "dataset").exists()
    dataset = split_features(tmp_path / "f.parquet", tmp_path / "dataset", exclude=other, drop=True)
    kept = set(ids_of(dataset.path / "train")) | set(ids_of(dataset.path / "val"))
    assert (kept, dataset.excluded) == (set("acdefh"), 2)
    content = json.loads((dataset.path / "dataset.json").read_text())
    assert (content["excluded"], content["excluded_by"]) == (2, {"id": 1, "sequence": 1})


@pytest.mark.parametrize(
    "text",
    ["P12345\nQ99999\n", '"P12345",\n"Q99999",\n', "P12345,Q99999\n", "P12345; Q99999\n", "Q99999;P12345;\n"],
)
def test_lists_as_people_write_them(tmp_path, text):
    write_with_sequences(tmp_path / "f.parquet", ["P12345", *list("abcd")], ["M", "MA", "MB", "MC", "MD"])
    (tmp_path / "list.txt").write_text(text)
    dataset = split_features(tmp_path / "f.parquet", tmp_path / "dataset", exclude=tmp_path / "list.txt", drop=True)
    assert dataset.excluded == 1


@pytest.mark.parametrize(("name", "text"), [("list.txt", "\n"), ("list.csv", "id,label\n")])
def test_a_test_set_without_ids_is_a_mistake(tmp_path, name, text):
    write_with_sequences(tmp_path / "f.parquet", list("abcd"), ["M", "MA", "MB", "MC"])
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f"{name}: it lists no ids"):
        split_features(tmp_path / "f.parquet", tmp_path / "dataset", exclude=tmp_path / name)


def test_one_sequence_in_several_spellings_is_one_protein(tmp_path):
    """`embed` has upper case, no white space and no stop codon; a test set has what its authors wrote."""
    write_with_sequences(tmp_path / "f.parquet", list("abcde"), ["MKV", "mka*", "MK L", "MKW", "*"])
    (tmp_path / "t.csv").write_text("sequence\nm k v*\nMKA\nmkl\nQQ\n*\n")
    with pytest.raises(DataError, match=r"3 rows also appear .*\(3 by sequence\)"):
        split_features(tmp_path / "f.parquet", tmp_path / "d", exclude=tmp_path / "t.csv")


def test_a_structure_aware_sequence_is_compared_by_its_residues(tmp_path):
    write_with_sequences(tmp_path / "f.parquet", list("abcde"), ["MdEvVp", "M#EpV#Qd*", "MKW", "AeAe", "dMvKpV"])
    (tmp_path / "t.csv").write_text("sequence\nMEV\nMEVQ\nMKV\n")
    with pytest.raises(DataError, match=r"3 rows also appear .*\(3 by sequence\)"):
        split_features(tmp_path / "f.parquet", tmp_path / "d", exclude=tmp_path / "t.csv")


def test_a_clean_test_set_excludes_nothing(make_features, tmp_path):
    (tmp_path / "test.csv").write_text("id\nX1\n")
    assert split_features(make_features(20, 2), tmp_path / "dataset", exclude=tmp_path / "test.csv").excluded == 0


def test_a_test_set_without_ids_or_sequences_is_refused(make_features, tmp_path):
    (tmp_path / "test.csv").write_text("what\nX1\n")
    with pytest.raises(DataError, match="neither an id nor a sequence column"):
        split_features(make_features(20, 2), tmp_path / "dataset", exclude=tmp_path / "test.csv")


def test_numbers_of_rows_are_not_compared(tmp_path):
    """Two sets without ids use the same row numbers, which does not mean shared proteins."""
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(20, 3)))
        import_features(tmp_path / f"{name}.npy", tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match="neither an id nor a sequence column to compare"):
        split_features(tmp_path / "a.parquet", tmp_path / "dataset", exclude=tmp_path / "b.parquet")


def test_a_pandas_index_is_not_an_id(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 2)), columns=["f0", "f1"])
    frame.to_csv(tmp_path / "a.csv")
    import_features(tmp_path / "a.csv", tmp_path / "a.parquet")
    for other in ("a.csv", "a.parquet"):
        with pytest.raises(DataError, match="neither an id .*are row numbers"):
            split_features(tmp_path / "a.parquet", tmp_path / "d", exclude=tmp_path / other)
    frame.assign(id=list("abcdefghi")).to_parquet(tmp_path / "named.parquet")
    with pytest.raises(DataError, match=r"ids: those of .*a.parquet are row numbers"):
        split_features(tmp_path / "named.parquet", tmp_path / "d", exclude=tmp_path / "a.parquet")


def test_names_in_an_index_that_has_none_are_compared(tmp_path):
    frame = pd.DataFrame({"f0": range(9), "f1": range(9)}, index=[f"p{n}" for n in range(9)])
    frame.to_csv(tmp_path / "a.csv")
    import_features(tmp_path / "a.csv", tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"9 rows also appear .*\(9 by id\)"):
        split_features(tmp_path / "a.parquet", tmp_path / "d", exclude=tmp_path / "a.csv")


def test_rows_that_were_not_compared_are_reported(make_features, tmp_path):
    (tmp_path / "t.csv").write_text("id,sequence\nX1,MKV\n")
    path = make_features(20, 2)
    dataset = split_features(path, tmp_path / "d", exclude=tmp_path / "t.csv")
    told = {"sequence": f"{path} has no such column"}
    assert (dataset.excluded_by, dataset.not_compared) == ({"id": 0}, told)
    assert json.loads((tmp_path / "d" / "dataset.json").read_text())["not_compared"] == told


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("t.fasta", ">sp|b|B_HUMAN x\nqq\n>z\nM f*\n", r"\(1 by id, 1 by sequence\)"),
        ("t.txt", "b\n\nf\n", r"\(2 by id\)"),
    ],
)
def test_fasta_and_lists_of_ids(name, content, found, tmp_path):
    write_with_sequences(tmp_path / "f.parquet", list("abcdefgh"), ["M", "MA", "MB", "MC", "MD", "ME", "MF", "MG"])
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"2 rows also appear in .* {found}, the first is row 2"):
        split_features(tmp_path / "f.parquet", tmp_path / "d", exclude=tmp_path / name)


@pytest.mark.parametrize("name", ["uniprot", "Protein", "label"])
def test_ids_in_a_column_of_another_name_are_found(name, tmp_path):
    write_with_sequences(tmp_path / "f.parquet", ["P12345", *list("abcd")], ["M", "MA", "MB", "MC", "MD"])
    (tmp_path / "test.csv").write_text(f"y,{name}\n1,sp|P12345|AATM_RABIT\n0,Q99999\n")
    with pytest.raises(DataError, match=r"1 rows also appear in .* \(1 by id\), the first is row 1; .* by accession"):
        split_features(tmp_path / "f.parquet", tmp_path / "dataset", exclude=tmp_path / "test.csv")


def test_columns_of_features_are_not_looked_through_for_ids(tmp_path, monkeypatch):
    write_with_sequences(tmp_path / "f.parquet", ["P12345", *list("abcd")], ["M", "MA", "MB", "MC", "MD"])
    pd.DataFrame({f"f{n}": [1.0, 2.0] for n in range(40)} | {"what": ["P12345", "x"]}).to_csv(tmp_path / "t.csv")
    read = []
    texts = DelimitedTable.texts
    monkeypatch.setattr(DelimitedTable, "texts", lambda table, name: read.append(name) or texts(table, name))
    with pytest.raises(DataError, match="1 by id"):
        split_features(tmp_path / "f.parquet", tmp_path / "dataset", exclude=tmp_path / "t.csv")
    assert set(read) == {"", "what"}


def test_json_is_not_a_list_of_ids(tmp_path):
    write_with_sequences(tmp_path / "f.parquet", ["P12345", *list("abcd")], ["M", "MA", "MB", "MC", "MD"])
    (tmp_path / "test.json").write_text('["P12345", "a"]')
    with pytest.raises(DataError, match="is not an id; expected one id per line"):
        split_features(tmp_path / "f.parquet", tmp_path / "dataset", exclude=tmp_path / "test.json")


def test_chains_of_a_listed_pdb_entry_are_left_out(tmp_path):
    write_with_sequences(tmp_path / "f.parquet", ["1abc_A", "1abc_B", "2abc_A", *"xyz"], list("ACDEFG"))
    (tmp_path / "test.txt").write_text("1ABC\n2ABC:B\n")
    dataset = split_features(
        tmp_path / "f.parquet", tmp_path / "dataset", exclude=tmp_path / "test.txt", drop=True, val_fraction=0.5
    )
    assert (dataset.excluded, dataset.excluded_id_forms) == (2, {"as a part or variant": 2})


def test_a_table_may_be_called_a_list(tmp_path):
    write_with_sequences(tmp_path / "f.parquet", list("abcde"), ["M", "MA", "MB", "MC", "MD"])
    (tmp_path / "t.txt").write_text("id\tsequence\nb\tMC\n")
    with pytest.raises(DataError, match=r"2 rows also appear .*\(1 by id, 1 by sequence\)"):
        split_features(tmp_path / "f.parquet", tmp_path / "d", exclude=tmp_path / "t.txt")


def test_a_list_with_tabs_and_no_header_is_refused(make_features, tmp_path):
    (tmp_path / "t.txt").write_text("X1\tMKV\n")
    with pytest.raises(DataError, match="has a tab, but the first line names no id or sequence column"):
        split_features(make_features(20, 2), tmp_path / "d", exclude=tmp_path / "t.txt")


def test_parquet_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("resvae_ray.data.parquet_pieces.ID_BATCH_ROWS", 3)
    pq.write_table(pa.table({"id": [f"p{n}" for n in range(10)]}), tmp_path / "t.parquet")
    assert [len(texts) for texts in open_table(tmp_path / "t.parquet").texts("id")] == [3, 3, 3, 1]


def test_a_test_set_with_a_broken_row_is_named(make_features, tmp_path):
    many = "".join(f"X{number}," + "x" * 100 + "\n" for number in range(20000))
    (tmp_path / "test.csv").write_text("id,text\n" + many + "oops\n")
    with pytest.raises(DataError, match="test.csv: .*row 20001: 1 fields, but the header has 2"):
        split_features(make_features(20, 2), tmp_path / "dataset", exclude=tmp_path / "test.csv")


def test_the_published_human_sets_share_one_sequence(shared, tmp_path):
    table = pd.read_csv(shared / "data" / "human_swiss_train.csv")
    write_with_sequences(tmp_path / "f.parquet", list(table.Entry_ID), list(table.Sequence))
    with pytest.raises(DataError, match=r"1 rows also appear .*\(0 by id, 1 by sequence\)"):
        split_features(tmp_path / "f.parquet", tmp_path / "d", exclude=shared / "data" / "human_swiss_test.csv")
    dataset = split_features(
        tmp_path / "f.parquet", tmp_path / "d", exclude=shared / "data" / "human_swiss_test.csv", drop=True
    )
    assert (dataset.excluded, dataset.excluded_by, dataset.repeated_sequences) == (1, {"id": 0, "sequence": 1}, 5)


class TestSimilarVectors:
    """Features like a language model's: a large common mean, by which the plain cosine of any two is over 0.99."""

    @pytest.fixture
    def matrix(self):
        return np.random.default_rng(0).normal(0, 0.03, (200, 16)) + 9 * (np.arange(16) == 3)

    def split(self, tmp_path, matrix, theirs, similarity=0.999, name="test.parquet", **options):
        ours = write_vectors(tmp_path / "f.parquet", matrix)
        other = write_vectors(tmp_path / name, theirs, "q")
        return split_features(ours, tmp_path / "d", exclude=other, exclude_similarity=similarity, **options)

    def test_near_identical_vectors_are_found_and_no_others(self, matrix, tmp_path):
        noise = np.random.default_rng(1).normal(0, 0.03, (3, 16))
        theirs = np.concatenate([matrix[[5]], matrix[[17]] + 0.01 * noise[:1], matrix[[30]] + noise[1:2], noise[2:]])
        with pytest.raises(DataError, match=r"2 rows also appear .*\(0 by id, 2 by vector\), the first is row 6"):
            self.split(tmp_path, matrix, theirs)
        dataset = self.split(tmp_path, matrix, theirs, drop=True)
        assert dataset.excluded_by == {"id": 0, "vector": 2}
        assert not {"p5", "p17"} & {*ids_of(dataset.path / "train"), *ids_of(dataset.path / "val")}

    @pytest.mark.parametrize("similarity", [0.5, 0.7, 0.9, 1.0])
    def test_the_cosine_is_that_of_centred_vectors(self, similarity, matrix, tmp_path, monkeypatch):
        monkeypatch.setattr(exclude_module, "BLOCK_BYTES", 16 * 4 * 7)
        monkeypatch.setattr(exclude_module, "PRODUCT_COLUMNS", 3)
        theirs = np.concatenate([matrix[:1], np.random.default_rng(1).normal(0, 0.03, (40, 16)) + matrix.mean(0)])
        dataset = self.split(tmp_path, matrix, theirs, similarity, drop=True)
        ours, theirs = (part.astype(np.float32).astype(float) for part in (matrix, theirs))
        ours, theirs = ours - ours.mean(0), theirs - ours.mean(0)
        lengths = np.linalg.norm(ours, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)
        assert dataset.excluded == int(((ours @ theirs.T) / lengths).max(1).__ge__(similarity - 1e-6).sum())
        assert dataset.excluded >= 1

    def test_a_vector_that_is_the_mean_is_like_the_mean_only(self, tmp_path):
        matrix = np.array([[1.0, 2], [3, 6], [2, 4], [2, 1], [2, 7]])
        assert self.split(tmp_path, matrix, np.array([[5.0, 5]]), drop=True).excluded == 0
        found = split_features(
            tmp_path / "f.parquet",
            tmp_path / "again",
            exclude=write_vectors(tmp_path / "mean.parquet", np.array([[2.0, 4]]), "q"),
            exclude_similarity=0.999,
            drop=True,
        )
        assert found.excluded_by["vector"] == 1
        assert "p2" not in {*ids_of(found.path / "train"), *ids_of(found.path / "val")}

    def test_equal_vectors_of_constant_features(self, tmp_path):
        dataset_error = pytest.raises(DataError, match="6 by vector")
        with dataset_error:
            self.split(tmp_path, np.full((6, 3), 0.1), np.full((1, 3), 0.1))

    def test_a_test_set_as_csv(self, matrix, tmp_path):
        write_vectors(tmp_path / "f.parquet", matrix)
        row = ",".join(f"{value:.9g}" for value in matrix[9].astype(np.float32))
        (tmp_path / "t.csv").write_text("name," + ",".join(f"e{n}" for n in range(16)) + f"\nother,{row}\n")
        with pytest.raises(DataError, match=r"1 by vector\), the first is row 10"):
            split_features(tmp_path / "f.parquet", tmp_path / "d", exclude=tmp_path / "t.csv", exclude_similarity=0.999)

    def test_vectors_alone_can_be_compared(self, matrix, tmp_path):
        np.save(tmp_path / "f.npy", matrix)
        import_features(tmp_path / "f.npy", tmp_path / "g.parquet")
        with pytest.raises(DataError, match=r"200 rows also appear .*\(200 by vector\)"):
            split_features(
                tmp_path / "g.parquet", tmp_path / "d", exclude=tmp_path / "g.parquet", exclude_similarity=0.999
            )

    def test_another_width(self, matrix, tmp_path):
        with pytest.raises(DataError, match="test.parquet: vectors of 4 numbers; to be compared they must have 16"):
            self.split(tmp_path, matrix, matrix[:, :4])

    @pytest.mark.parametrize("similarity", [0, -0.5, 1.01, float("nan")])
    def test_a_cosine_out_of_range(self, similarity, matrix, tmp_path):
        with pytest.raises(UsageError, match="--exclude-similarity .*: expected a cosine above 0 and up to 1"):
            self.split(tmp_path, matrix, matrix, similarity)

    def test_without_a_test_set(self, matrix, tmp_path):
        path = write_vectors(tmp_path / "f.parquet", matrix)
        with pytest.raises(UsageError, match="--exclude-similarity: .*give --exclude OTHER"):
            split_features(path, tmp_path / "d", exclude_similarity=0.999)


class TestFormsOfIds:
    """One protein has one id in FASTA, another in a file of features, and is found by both."""

    HEADERS = [f"sp|P1000{n}|PROT{n}_ECOLI Some protein {n} OS=E. coli/K12" for n in range(8)]

    @pytest.fixture
    def features(self, tmp_path):
        def write(ids):
            column = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(len(ids) * 2, dtype=np.float32)), 2)
            pq.write_table(pa.table({"id": ids, "features": column}), tmp_path / "f.parquet")
            return tmp_path / "f.parquet"

        return write

    @pytest.mark.parametrize("name", ["t.fasta", "t.txt", "t.seq", "t.csv"])
    @pytest.mark.parametrize(
        "form",
        [
            lambda header: header,
            lambda header: header.split()[0],
            lambda header: header.split("|")[1],
            lambda header: header.split()[0].split("|")[2],
            lambda header: header.replace("/", "_").replace(".", "_"),
        ],
    )
    def test_the_fasta_of_the_test_set_finds_them(self, features, name, form, tmp_path):
        (tmp_path / name).write_text("".join(f">{header}\nMKV\n" for header in self.HEADERS[:3]))
        with pytest.raises(DataError, match=r"3 rows also appear .*\(3 by id\), the first is row 1.*--drop"):
            split_features(features(list(map(form, self.HEADERS))), tmp_path / "d", exclude=tmp_path / name)

    def test_the_matching_form_is_reported(self, features, tmp_path, capsys):
        (tmp_path / "t.txt").write_text("P10000\nsp|P10001|PROT1_ECOLI\n")
        words = ["split", features(self.HEADERS), tmp_path / "d", "--exclude", tmp_path / "t.txt", "--drop"]
        assert main([str(word) for word in words]) == 0
        assert "2 left out (2 by id; the ids agree by first word (1), by accession (1);" in capsys.readouterr().out
        content = json.loads((tmp_path / "d" / "dataset.json").read_text())
        assert content["excluded_id_forms"] == {"by first word": 1, "by accession": 1}

    def test_ids_of_two_kinds_are_not_a_clean_test_set(self, features, tmp_path):
        (tmp_path / "t.txt").write_text("ENSP00000123456\n")
        with pytest.raises(DataError, match="two kinds: .* has UniProt accessions .* has Ensembl ids"):
            split_features(features([f"P1000{n}" for n in range(8)]), tmp_path / "d", exclude=tmp_path / "t.txt")

    def test_ambiguous_ids_are_reported(self, features, tmp_path, capsys):
        (tmp_path / "t.txt").write_text("mine1\n")
        path = features([f"P1000{n}" for n in range(8)])
        assert main(["split", str(path), str(tmp_path / "d"), "--exclude", str(tmp_path / "t.txt")]) == 0
        out = capsys.readouterr().out
        assert "nothing could be compared (ids not compared: none agrees, and they are of two kinds" in out
        assert "0 left out" not in out

    @pytest.mark.parametrize("ending", ["npz", "h5"])
    def test_a_test_set_of_features_in_another_format(self, features, ending, tmp_path):
        FORMATS[{"npz": "rows.npz", "h5": "proteins.h5"}[ending]].write(
            tmp_path / f"t.{ending}", np.ones((2, 2), np.float32), self.HEADERS[2:4], ["x", "y"]
        )
        with pytest.raises(DataError, match=r"2 rows also appear .*\(2 by id\), the first is row 3"):
            split_features(
                features([h.split("|")[1] for h in self.HEADERS]), tmp_path / "d", exclude=tmp_path / f"t.{ending}"
            )

    def test_ids_that_validate_are_found_in_any_form(self, features, tmp_path):
        (tmp_path / "val.txt").write_text("P10003\nPROT5_ECOLI\n")
        dataset = split_features(features(self.HEADERS), tmp_path / "d", rule="given", by=tmp_path / "val.txt")
        assert ids_of(dataset.path / "val") == [self.HEADERS[3], self.HEADERS[5]]
        assert dataset.val_id_forms == {"by accession": 1, "by entry name": 1}

    def test_row_numbers_of_another_table_do_not_validate(self, features, tmp_path):
        path = features([str(n) for n in range(8)])
        (tmp_path / "val.csv").write_text("id,note\n0,a\n1,b\n")
        with pytest.raises(DataError, match="val.csv: its ids are row numbers"):
            split_features(path, tmp_path / "d", rule="given", by=tmp_path / "val.csv")
        (tmp_path / "val.txt").write_text("0\n1\n")
        assert split_features(path, tmp_path / "d", rule="given", by=tmp_path / "val.txt").val_rows == 2
