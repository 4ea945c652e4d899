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
        (["P12345"], ["p12345"]),
        (["", None], ["", None]),
    ],
)
def test_not_one_protein(ours, theirs):
    assert not any(matched(ours, theirs))


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
        (["17", "4"], "whole numbers"),
        (["UPI000000000A"], "UniParc ids"),
        (["AMP_0012", "SYN7"], None),
        ([], None),
    ],
)
def test_kinds(names, kind):
    assert kind_of([pa.array(names, pa.string())]).name == kind
