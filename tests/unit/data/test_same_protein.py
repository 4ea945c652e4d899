"""The forms in which tools write the id of one protein, and what is not the same protein."""

import pyarrow as pa
import pytest

from resvae_ray.data.same_protein import ProteinIds, form_counts, kind_of, match_ids

HEADER = "sp|P12345|AATM_RABIT Aspartate aminotransferase OS=Oryctolagus/cuniculus v1.2"
FORMS = [
    "P12345",
    "sp|P12345|AATM_RABIT",
    HEADER,
    f">{HEADER}",
    HEADER.replace("/", "_").replace(".", "_"),
    "sp|P12345.2|AATM_RABIT",
    "P12345.2",
    "tr|P12345|OTHER_NAME",
    "sp_P12345_AATM_RABIT",
    "UniRef90_P12345",
    "AF-P12345-F1-model_v4",
    "P12345 some text",
    "layer_33/P12345",
    "P12345.pdb",
    "folder/P12345.fasta.gz",
    "AF-P12345-F1-model_v4.cif.gz",
    "uniprotkb:P12345",
    "UniProtKB:P12345",
    "uniprot|P12345",
    "https://www.uniprot.org/uniprotkb/P12345/entry",
    "https://rest.uniprot.org/uniprotkb/P12345.fasta?compressed=true",
    "P12345-1",
    "p12345",
    "sp|p12345|aatm_rabit",
]


def ids(*names):
    return ProteinIds(lambda: [pa.array([name], pa.string()) for name in names])


def matched(ours, theirs):
    return (match_ids(ids(*ours), ids(*theirs), len(ours)) >= 0).tolist()


@pytest.mark.parametrize("theirs", FORMS)
@pytest.mark.parametrize("ours", FORMS)
def test_one_protein_in_two_forms(ours, theirs):
    assert matched([ours, "Q00001"], ["Q99999", theirs]) == [True, False]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("AATM_RABIT", HEADER),
        ("NP_001_1 some_text", "NP_001.1 some.text"),
        ("P1_10-20", "P1/10-20"),
        ("gi|7|ref|NP_001234.1| text", "NP_001234"),
        ("9606.ENSP00000123456", "ENSP00000123456.3"),
        ("my1 text", "my1 other text"),
        ("ubiquitin", "ubiquitin of man"),
        ("lcl|x1 a", "x1"),
        ("AAA12345.1", "gb|AAA12345.2|"),
        ("UniRef100_UPI000000000A", "UPI000000000A"),
        ("1abc_A", "1ABC:A"),
        ("1abc_A", "1ABCA"),
        ("1abc_A", "1ABC-A"),
        ("1abc_A", "pdb|1ABC|A"),
        ("1abc_A", "1ABC_1|Chain A|HEMOGLOBIN|Homo sapiens (9606)"),
        ("1abc_A", "1ABC_2|Chains C[auth A], D|HEMOGLOBIN|Homo sapiens (9606)"),
        ("1abc_A", "1abc_A mol:protein length:21  HEMOGLOBIN"),
        ("1abc_A.pdb", "1abc.A.cif.gz"),
        ("1abc", "pdb1abc.ent"),
        ("1abc", "1ABC"),
    ],
)
def test_other_databases(ours, theirs):
    assert matched([ours], [theirs]) == matched([theirs], [ours]) == [True]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["P12345-2"], ["P12345"]),
        (["sp|P12345-2|AATM_RABIT"], ["P12345-3"]),
        (["Antimicrobial peptide 1", "Antimicrobial peptide 2"], ["Antimicrobial peptide 9"]),
        (["10 kDa chaperonin"], ["10"]),
        (["10 kDa chaperonin"], ["10 kDa antigen"]),
        (["P1abc_A"], ["P1abc_a"]),
        (["1abc_A"], ["1abc_a"]),
        (["1abc_A"], ["1ABC_B"]),
        (["1234"], ["1234_A"]),
        (["P12345_A12V"], ["P12345_G13D"]),
        (["P12345/1-80"], ["P12345/81-120"]),
        (["sample_1"], ["sample_2"]),
        (["", None], ["", None]),
    ],
)
def test_not_one_protein(ours, theirs):
    assert not any(matched(ours, theirs))


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("P12345/1-120", "P12345"),
        ("AATM_RABIT/1-120", HEADER),
        ("AATM_RABIT/1-120", "AATM_RABIT"),
        ("P12345_A12V", "sp|P12345|AATM_RABIT"),
        ("P12345:1-120", "P12345"),
        ("AF-P12345-F1-model_v4_TED01", "UniRef90_P12345"),
        ("AFDB:AF-P12345-F1 Aspartate aminotransferase UA=P12345", "P12345"),
        ("P12345-2_A12V", "P12345-2"),
        ("AATM_RABIT|P12345", "P12345"),
        ("RABIT|HGNC=10848|UniProtKB=P12345", "P12345"),
        ("sp_P12345_AATM_RABIT_Aspartate_aminotransferase_OS_Oryctolagus", "P12345"),
        ("lcl|NC_000913.3_prot_NP_414542.1_1 [gene=thrL]", "NP_414542.1"),
        ("ENSP00000100000.2|ENST00000641515.2|ENSG00000186092.7|OR4F5|326", "ENSP00000100000"),
        ("1abc_A", "1ABC"),
        ("my1/3-99", "my1"),
        ("test/my1", "my1"),
        ("my1.fasta", "my1"),
        ("AT1G01010.1", "AT1G01010"),
    ],
)
def test_a_part_and_its_whole(part, whole):
    for ours, theirs in ((part, whole), (whole, part)):
        found = match_ids(ids(ours, "Q00001"), ids("Q99999", theirs), 2)
        assert form_counts(found) == {"as a part or variant": 1}
        assert found[0] >= 0


def test_an_isoform_is_itself_in_every_form():
    assert matched(["P12345-2", "P12345"], ["sp|P12345-2|AATM_RABIT Isoform 2"]) == [True, False]


def test_the_first_form_that_agrees_is_counted():
    ours = ["P12345", "Q12345", "AATM_RABIT", "a.1"]
    found = match_ids(ids(*ours), ids("P12345", "sp|Q12345|X_RABIT", HEADER.replace("P12345", "P00000"), "a_1"), 4)
    told = {"as written": 1, "by accession": 1, "by entry name": 1, "with '_' for '.' and '/'": 1}
    assert form_counts(found) == told


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["P12345", "A0A024R1R8"], "UniProt accessions"),
        ([HEADER], "UniProt accessions"),
        (["AATM_RABIT"], "UniProt entry names"),
        (["NP_001234.1"], "RefSeq accessions"),
        (["ENSP00000123456"], "Ensembl ids"),
        (["1abc_A", "2xyz"], "PDB ids"),
        (["1ABC_1|Chain A|HEMOGLOBIN"], "PDB ids"),
        (["AAA12345.1"], "GenBank accessions"),
        (["17", "4"], "whole numbers"),
        (["UPI000000000A"], "UniParc ids"),
        (["AMP_0012", "SYN7"], None),
        ([], None),
    ],
)
def test_kinds(names, kind):
    assert kind_of([pa.array(names, pa.string())]).name == kind


def test_the_example_of_mixed_ids_is_one_that_stands_for_the_mixture():
    mixed = ["P12345", *(f"prot {n}" for n in range(9))]
    assert str(kind_of([pa.array(mixed, pa.string())])) == "such as 'prot 0'"
