"""Reading does not lose, rename or silently change a protein."""

import gzip

import pandas as pd
import pytest

from resvae_ray.data.proteins import ProteinChoice, fasta, read_proteins
from resvae_ray.data.proteins.sites import Sites
from resvae_ray.errors import DataError, UsageError

FASTA = """\
; a comment of old
>sp|P12345|AATM_RABIT Aspartate aminotransferase OS=Oryctolagus

MALLHSAR
VLSG
>tr|A0A024R1R8|A0A024R1R8_HUMAN
mssheg gk*
>sp|P12345-2|AATM_RABIT Isoform 2
MAL
>gi|1234|ref|NP_1.1| other forms stay whole
MXUOBZJ
> spaced out
MK
"""
IDS = ["P12345", "A0A024R1R8", "P12345-2", "gi|1234|ref|NP_1.1|", "spaced"]
SEQUENCES = ["MALLHSARVLSG", "MSSHEGGK", "MAL", "MXUOBZJ", "MK"]


@pytest.fixture
def write(tmp_path):
    def make(content, name="proteins.fasta"):
        path = tmp_path / name
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return make


def read(path, choice=None):
    batches = list(read_proteins(path, choice))
    ids = [name for batch in batches for name in batch.ids.to_pylist()]
    sequences = [text for batch in batches for text in batch.sequences.to_pylist()]
    return ids, sequences, batches


@pytest.mark.parametrize("name", ["p.fasta", "p.fa", "p.FAA", "p.fas.gz"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_fasta(write, name, ending):
    ids, sequences, (batch,) = read(write(FASTA.replace("\n", ending), name))
    assert (ids, sequences) == (IDS, SEQUENCES)
    assert batch.others["description"].to_pylist() == [
        "Aspartate aminotransferase OS=Oryctolagus",
        "",
        "Isoform 2",
        "other forms stay whole",
        "out",
    ]
    assert batch.place(1) == "line 6"


def test_fasta_in_several_batches_and_gzip_members(write, tmp_path, monkeypatch):
    monkeypatch.setattr(fasta, "BATCH_PROTEINS", 2)
    cut = FASTA.index(">gi")
    path = tmp_path / "joined.fa.gz"
    path.write_bytes(gzip.compress(FASTA[:cut].encode()) + gzip.compress(FASTA[cut:].encode()))
    ids, sequences, batches = read(path)
    assert (ids, sequences) == (IDS, SEQUENCES)
    assert [len(batch) for batch in batches] == [2, 2, 1]


@pytest.mark.parametrize(("name", "delimiter"), [("p.csv", ","), ("p.tsv", "\t"), ("p.csv.gz", ",")])
def test_tables(write, name, delimiter):
    rows = [["Entry_ID", "Sequence", "label", "note"], ["P1", "mkt", "Nucleus", "007"], ["P2", "AC DE*", "", "x"]]
    ids, sequences, (batch,) = read(write("\n".join(delimiter.join(row) for row in rows) + "\n", name))
    assert (ids, sequences) == (["P1", "P2"], ["MKT", "ACDE"])
    assert batch.others.to_pydict() == {"label": ["Nucleus", ""], "note": ["007", "x"]}
    assert batch.place(1) == "row 2"


def test_columns_that_the_user_names(write):
    path = write("acc,protein,place\nP1,MKT,Nucleus\n", "p.csv")
    ids, sequences, (batch,) = read(path, ProteinChoice("acc", "protein", "place"))
    assert (ids, sequences, batch.others.to_pydict()) == (["P1"], ["MKT"], {"label": ["Nucleus"]})


def test_every_real_protein_is_read(shared):
    path = shared / "data" / "human_swiss_train.csv"
    ids, sequences, batches = read(path)
    table = pd.read_csv(path)
    assert ids == list(table.Entry_ID)
    assert sequences == list(table.Sequence)
    assert batches[0].others["label"][0].as_py() == table.label[0]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "p.fasta", "the file is empty; expected a header that begins with '>'"),
        ("", "p.csv", "the file is empty"),
        ("id,sequence\n", "p.csv", "it holds no rows"),
        ("MKT\n>a\nMKT\n", "p.fasta", "line 1: 'MKT' is not a FASTA header"),
        (b">a\nMK\xff\xfeT\n", "p.fasta", "not UTF-8 text"),
        (">a\nMKT\n>b\n>c\nMK\n", "p.fasta", r"line 3 \(id b\): the sequence is empty"),
        (">a\nMKT\n>\nMK\n", "p.fasta", "line 3 .*: the id is missing"),
        (">a\nMK-T\n", "p.fasta", r"line 1 \(id a\): '-' at position 3; .* remove the gaps of the alignment"),
        (">a\nMK*T\n", "p.fasta", r"'\*' at position 3; a sequence has letters only$"),
        (">a\nMdEvVpQp\n", "p.fasta", r"line 1 \(id a\): residues and structure letters in turn, as SaProt"),
        (">a\nMKV\n>b\nM#EvVp\nQ#\n", "p.fasta", r"line 3 \(id b\): residues and structure letters"),
        ("id,sequence\na,dMvEpV\n", "p.csv", r"row 1 \(id a\): residues and structure letters"),
        (">a\n" + "dppvvlvvlvvvccvvd" * 20 + "\n", "p.fasta", "76% of their letters are d, p and v, as in .* 3Di"),
        (
            ">a\n" + "DPVLQWAEVCDVVVLVVLVVPDPPDDPVVSNVVSVVCNVPVVDP" * 30,
            "p.fasta",
            "are D, P and V, as in .* 3Di of Foldseek",
        ),
        (">a\nMetLys Thr\n>b\nMKT\n", "p.fasta", r"line 1 \(id a\): residues as codes of three letters \(MetLys…\)"),
        ("id,sequence\na,GLY-ALA-VAL\n", "p.csv", r"row 1 \(id a\): residues as codes of three letters"),
        (">P1;CRAB_ANAPL\nALPHA CRYSTALLIN B\nMDITIHNPLI*\n", "p.pir", "line 1: '>P1;CRAB_ANAPL' is a header of PIR"),
        (">a\nMK1\n", "p.fasta", "'1' at position 3"),
        (">a\nMÄK\n", "p.fasta", "'Ä' at position 2"),
        ("id,sequence\nP1,MKT\nP2,\n", "p.csv", r"row 2 \(id P2\): the sequence is empty"),
        ("id,seq,sequence2\n,MKT,x\n", "p.csv", "row 1 .*: the id is missing"),
        ("".join(f">a{i}\nM?\n" for i in range(9)), "p.fasta", r"a0.*a1.*a2\): '\?' at position 2; [^;]*; and 6 more$"),
        (">a\n" + "ACGTN" * 50 + "\n", "p.fasta", "expected proteins, not DNA or RNA"),
        ("id,name,letters\nP1,x,MKT\n", "p.csv", "no sequence column; name it with --sequence-column"),
        ("letters,sequence\nx,MKT\n", "p.csv", "no id column; name it with --id-column"),
        ("id,sequence,features\nP1,MKT,x\n", "p.csv", "column 'features' has a name that the features need"),
        ("id,sequence,id\nP1,MKT,x\n", "p.csv", "two columns are called 'id'"),
        ("id,sequence\nP1,MKT,x\n", "p.csv", "row 1: 3 fields, but the header has 2"),
    ],
)
def test_the_error_names_the_mistake(write, content, name, message):
    with pytest.raises(DataError, match=message):
        read(write(content, name))


def test_masked_proteins_in_lower_case_are_read(write):
    protein = "mstaykrlleyvwqpndghicfmastkrlleeyaagdp" * 10
    assert read(write(f">a\n{protein}\n"))[1] == [protein.upper()]
    elastin = "VPGVG" * 60  # of d, p and v alike, but in upper case
    assert read(write(f">a\n{elastin}\n"))[1] == [elastin]


def test_wrong_usage(write):
    with pytest.raises(UsageError, match=r"unknown format; the endings read are \.fasta"):
        read(write("P1 MKT\n", "p.fna"))
    with pytest.raises(UsageError, match="no columns to choose"):
        read(write(FASTA), ProteinChoice(id_column="id"))
    with pytest.raises(UsageError, match="--sequence-column letters: no such column"):
        read(write("id,sequence\nP1,MKT\n", "p.csv"), ProteinChoice(sequence_column="letters"))
    with pytest.raises(DataError, match="no such file"):
        read("absent.fasta")


def test_a_file_that_was_cut_short_is_damaged(tmp_path):
    import random

    letters = "".join(random.Random(0).choices("ACDEFGHIKLMNPQRSTVWY", k=5000))
    (tmp_path / "p.fa.gz").write_bytes(gzip.compress(f">a\n{letters}\n".encode())[:1000])
    with pytest.raises(DataError, match=r"p\.fa\.gz: damaged"):
        read(tmp_path / "p.fa.gz")


class TestSites:
    @pytest.fixture
    def batch(self, write):
        (batch,) = read_proteins(write(">a\nMKTS\n>b\nMKT\n>c\nMSS\n"))
        return batch

    def sites(self, write, text):
        return Sites(write(text, "sites.csv"))

    def test_they_are_the_proteins_own(self, write, batch):
        sites = self.sites(write, "note,id,position\nx,c,3\ny,a,4\nz,c,2\n")
        assert sites.of(batch).to_pylist() == [[4], [], [2, 3]]
        sites.require_all_seen()

    @pytest.mark.parametrize("name", ["P12345", "sp|P12345|AATM_RABIT", "AATM_RABIT", "tr|P12345|X some text"])
    def test_they_are_joined_by_any_form_of_the_id(self, write, name):
        (batch,) = read_proteins(write(">sp|P12345|AATM_RABIT Aspartate\nMKTS\n>sp|Q12345|B_RABIT\nMKT\n"))
        sites = self.sites(write, f"id,position\n{name},4\n")
        assert sites.of(batch).to_pylist() == [[4], []]
        assert sum(sites.matched.values()) == 1
        sites.require_all_seen()

    def test_ids_of_another_kind_are_named(self, write):
        (batch,) = read_proteins(write(">sp|P12345|AATM_RABIT Aspartate\nMKTS\n"))
        sites = self.sites(write, "id,position\nENSP00000123456,4\n")
        sites.of(batch)
        with pytest.raises(DataError, match="these are Ensembl ids .*, the proteins UniProt accessions"):
            sites.require_all_seen()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("id,position\na,5\n", r"row 1 \(id a\): position 5, but the sequence has 4 residues"),
            ("id,position\na,1\nd,1\n", "row 2: id 'd' is none of the proteins"),
            ("id,position\na,0\n", r"row 1 \(id a\): position '0'; expected a whole number from 1"),
            ("id,position\na,S4\n", "position 'S4'"),
            ("id,position\na,4\na,4\n", "position 4 of 'a' appears in row 1 and in row 2"),
            ("id,residue\na,4\n", "expected columns id and position; the columns are 'id', 'residue'"),
        ],
    )
    def test_the_error_names_the_mistake(self, write, batch, text, message):
        with pytest.raises(DataError, match=message):
            sites = self.sites(write, text)
            sites.of(batch)
            sites.require_all_seen()


def to_xlsx(path, columns):
    pd.DataFrame(columns).to_excel(path, index=False)


def to_parquet(path, columns):
    pd.DataFrame(columns).to_parquet(path, index=False)


@pytest.mark.parametrize(("name", "write_table"), [("p.xlsx", to_xlsx), ("p.parquet", to_parquet), ("p.bin", to_xlsx)])
def test_workbooks_and_parquet(tmp_path, name, write_table):
    columns = {"Entry": ["P1", "P2"], "Sequence": ["mkt", "AC DE*"], "label": ["Nucleus", None], "note": ["007", "x"]}
    made = tmp_path / f"p{'.xlsx' if write_table is to_xlsx else '.parquet'}"
    write_table(made, columns)
    made.rename(tmp_path / name)
    ids, sequences, (batch,) = read(tmp_path / name)
    assert (ids, sequences) == (["P1", "P2"], ["MKT", "ACDE"])
    assert batch.others.to_pydict() == {"label": ["Nucleus", None], "note": ["007", "x"]}
    assert batch.place(1) == "row 2"


def test_a_folder_of_parquet(tmp_path):
    for number in range(2):
        to_parquet(tmp_path / f"{number}.parquet", {"id": [f"P{number}"], "sequence": ["MKT"], "length": [3]})
    ids, _, batches = read(tmp_path)
    assert ids == ["P0", "P1"]
    assert [batch.others["length"].to_pylist() for batch in batches] == [[3], [3]]


@pytest.mark.parametrize("name", ["p.xlsx", "p.parquet"])
def test_a_missing_sequence_is_named(tmp_path, name):
    (to_xlsx if name == "p.xlsx" else to_parquet)(tmp_path / name, {"id": ["P1", "P2"], "sequence": ["MKT", None]})
    with pytest.raises(DataError, match=r"row 2 \(id P2\): the sequence is empty"):
        read(tmp_path / name)


def test_ids_that_excel_has_changed_are_refused(tmp_path):
    to_xlsx(tmp_path / "p.xlsx", {"id": ["P1", pd.Timestamp("2026-09-01")], "sequence": ["MKT", "MKV"]})
    with pytest.raises(DataError, match="row 2, column id: Excel has made '2026-09-01T00:00:00' of the id"):
        read(tmp_path / "p.xlsx")


def test_a_sheet_is_chosen(tmp_path, write):
    with pd.ExcelWriter(tmp_path / "p.xlsx") as writer:
        for name in ("a", "b"):
            pd.DataFrame({"id": [name], "sequence": ["MKT"]}).to_excel(writer, sheet_name=name, index=False)
    assert read(tmp_path / "p.xlsx")[0] == ["a"]
    assert read(tmp_path / "p.xlsx", ProteinChoice(sheet="b"))[0] == ["b"]
    with pytest.raises(UsageError, match="--sheet a: it chooses in .xlsx files alone"):
        read(write("id,sequence\nP1,MKT\n", "p.csv"), ProteinChoice(sheet="a"))


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.seq", "p", "p.txt.gz"])
def test_fasta_may_have_any_name(write, name):
    assert read(write(FASTA, name))[:2] == (IDS, SEQUENCES)


def test_gzip_may_have_any_name(tmp_path):
    (tmp_path / "p.fasta").write_bytes(gzip.compress(FASTA.encode()))
    (tmp_path / "q.fasta.gz").write_text(FASTA)
    assert read(tmp_path / "p.fasta")[0] == read(tmp_path / "q.fasta.gz")[0] == IDS


def test_a_table_may_be_called_txt(write):
    (batch,) = read_proteins(write("id\tsequence\nP1\tMKT\n", "p.txt"))
    assert (batch.ids.to_pylist(), batch.sequences.to_pylist()) == (["P1"], ["MKT"])


def test_a_table_of_sequences_and_labels_has_numbered_rows(write):
    path = write("sequence,label\nMKT,0\nMKV,1\n", "p.csv")
    for choice in (None, ProteinChoice(ids="rows")):
        ids, sequences, (batch,) = read(path, choice)
        assert (ids, sequences) == (["0", "1"], ["MKT", "MKV"])
        assert batch.others.to_pydict() == {"label": ["0", "1"]}


def test_the_sequence_is_not_an_id(write):
    path = write("sequence,label\nMKT,0\n", "p.csv")
    with pytest.raises(UsageError, match="cannot be both the id and the sequence; --ids rows numbers the rows"):
        read(path, ProteinChoice(id_column="sequence"))
    with pytest.raises(UsageError, match="--ids rows: --id-column label says where the ids are"):
        read(path, ProteinChoice(id_column="label", ids="rows"))


def test_rows_with_texts_that_all_differ_are_asked_for(write):
    path = write("peptide_name,sequence\nx,MKT\ny,MKV\n", "p.csv")
    with pytest.raises(DataError, match="no id column; name it with --id-column, or number the rows with --ids rows"):
        read(path)
    assert read(path, ProteinChoice(ids="rows"))[0] == ["0", "1"]


def test_a_header_of_the_rcsb_names_entry_and_chain(tmp_path):
    (tmp_path / "p.fasta").write_text(
        ">1ABC_1|Chain A|HEMOGLOBIN|Homo (9606)\nMKT\n>1ABC_2|Chains B[auth X], C|GLOBIN\nMA\n"
    )
    batch = next(read_proteins(tmp_path / "p.fasta"))
    assert batch.ids.to_pylist() == ["1ABC_A", "1ABC_X"]
    assert batch.headers[0].as_py() == "1ABC_1|Chain A|HEMOGLOBIN|Homo (9606)"


@pytest.mark.parametrize("repeat", ["VPGVG", "GDVPGDVPAA", "DVP"])
def test_repeats_of_few_residues_are_not_taken_for_3di(repeat, tmp_path):
    (tmp_path / "p.fasta").write_text(f">a\n{repeat * 20}\n")
    assert len(next(read_proteins(tmp_path / "p.fasta"))) == 1
