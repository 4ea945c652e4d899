"""When two ids, or two sequences, mean one protein. Every comparison of ids in the package uses this module.

Tools write the id of one protein in several forms: `sp|P12345|AATM_RABIT Aspartate …` (the whole FASTA header, as
esm-extract keeps it), its first word (Biopython, bio_embeddings), the accession (`embed`, UniProt's downloads), the
entry name, or a key of HDF5 with `_` for `.` and `/` (ProtTrans). An id matches another if one of FORMS agrees. It also
matches if one of the two is a part or a variant of the other: a chain of a PDB entry, a range or a mutant of a protein.
Two parts of one protein do not match.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.data.hashes import ABSENT, distinct, gather, hash_texts, members

AS_WRITTEN, FIRST_WORD, ACCESSION = "as written", "by first word", "by accession"
ENTRY_NAME, UNDERSCORED = "by entry name", "with '_' for '.' and '/'"
CASELESS = "by accession, whatever the case"
FORMS = (AS_WRITTEN, FIRST_WORD, ACCESSION, ENTRY_NAME, UNDERSCORED, CASELESS)
WHOLE = "of which it is a part"  # a form of a part alone: the protein or the PDB entry that it belongs to
PART = "as a part or variant"
# How an id of ours and one of theirs may agree: what it is called, and the forms that are compared.
COMPARISONS = (
    *((form, form, form) for form in FORMS),
    *((PART, WHOLE, form) for form in (ACCESSION, ENTRY_NAME)),
    *((PART, form, WHOLE) for form in (ACCESSION, ENTRY_NAME)),
)
AGREEMENTS = (*FORMS, PART)

UNIPROT = r"(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(?:-[0-9]+)?"  # with isoform
REFSEQ, ENSEMBL, UNIPARC = "[NXYWA]P_[0-9]{6,}", "ENS[A-Z]*[GTP][0-9]{6,}", "UPI[0-9A-F]{10}"
ONE_ACCESSION = f"(?:{UNIPROT}|{REFSEQ}|{ENSEMBL})"
GENBANK = "[A-Z]{3}[0-9]{5}(?:[0-9]{2})?"
DATABASE = r"(?:gi\|[0-9]+\|)?(?:sp|tr|ref|gb|emb|dbj|tpg|lcl)\|"
ENDINGS = r"(?:\.(?:pdb|ent|cif|fasta|fa|faa|pt|npy|npz|h5|txt|gz))*"
# A PDB entry and its chain. A code has a letter, so that numbers are none; case tells chains apart, but not entries.
PDB_CODE = "[1-9](?:[A-Za-z][A-Za-z0-9]{2}|[0-9][A-Za-z][A-Za-z0-9]|[0-9]{2}[A-Za-z])"
PDB = (
    rf"^>?(?P<code>{PDB_CODE})_[0-9]+\|Chains? (?:[A-Za-z0-9]+\[auth )?(?P<chain>[A-Za-z0-9]+)",  # a header of the RCSB
    rf"^(?:pdb(?:[|:]|\|\|)?)?(?P<code>{PDB_CODE})(?P<chain>[A-Za-z0-9]?){ENDINGS}$",
    rf"^(?:pdb[|:]?)?(?P<code>{PDB_CODE})[_.:|-](?P<chain>[A-Za-z0-9]{{1,4}}?){ENDINGS}$",
)
# From a first word to the accession in it, without its version. An isoform is another sequence, and stays.
TO_ACCESSION = (
    rf"^{DATABASE}({UNIPROT})[._][0-9]+(?:\|.*)?$",
    rf"^{DATABASE}([^|]+)(?:\|.*)?$",
    rf"^(?:sp|tr)_({UNIPROT})(?:_[A-Z0-9]+_[A-Z0-9]+)?$",  # the name of a file
    rf"^UniRef[0-9]+_({UNIPROT}|{UNIPARC})$",
    rf"^(?:.*/)?AF-({UNIPROT})-F[0-9]+(?:-model_v[0-9]+)?(?:\.\w+)*$",
    rf"^(?i:uniprot(?:kb)?|sp|tr)[:|]({UNIPROT})(?:[.|].*)?$",
    rf"^https?://.*/({UNIPROT})(?:[./?#].*)?$",
    rf"^(?:.*/)?({UNIPROT})(?:\.\w+)*$",  # with its version, or as the name of a file
    rf"^({REFSEQ}|{GENBANK})[._][0-9]+$",
    rf"^(?:[0-9]+[._])?({ENSEMBL})(?:[._][0-9]+)?$",  # STRING puts the species before it
    rf"^({UNIPROT})-1$",  # the isoform that the accession alone names
)
# From a part or variant to what it is one of.
TO_WHOLE = (
    rf"^({PDB_CODE})_[A-Za-z0-9]+$",
    r"^(.+)/[0-9]+-[0-9]+$",  # a range of residues, as in alignments
    rf"^(?:.*?[^A-Za-z0-9])??({UNIPROT})(?:[^A-Za-z0-9].*)?$",  # beside anything else, such as a domain or a mutation
    rf"^(?:.*?[^A-Za-z0-9])??({REFSEQ}|{ENSEMBL})(?:[^A-Za-z0-9].*)?$",
    rf"^(?:.*/)?([^/]+?){ENDINGS}$",  # of a folder
    r"^(.+)\.[0-9]{1,3}$",  # a version or a transcript
)
SPECIES_NAME = r"[A-Z0-9]{1,11}_(?:[A-Z][A-Z0-9]{2,4}|9[A-Z]{4})"
TO_ENTRY_NAME = rf"^(?:(?:sp|tr)[|_][^|]+[|_])?({SPECIES_NAME})$"
IN_ONE_FORM = r"^[^\s|./:_-]*$"  # an id that is the same in all FORMS, unless it is one of these
IN_OTHER_FORMS = rf"^(?:{PDB_CODE}[A-Za-z0-9]?|{UNIPROT.lower()})$"

KINDS = {
    "whole numbers": r"[0-9]+",
    "UniProt accessions": UNIPROT,
    "RefSeq accessions": REFSEQ,
    "GenBank accessions": GENBANK,
    "Ensembl ids": ENSEMBL,
    "UniParc ids": UNIPARC,
    "UniRef ids": r"UniRef[0-9]+_.+",
    "UniProt entry names": SPECIES_NAME,
    "PDB ids": rf"{PDB_CODE}(?:_[A-Za-z0-9]+)?",
    "checksums": r"[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}",
    "sequences": r"[A-Za-z*]{30,}",
}
ACCESSIONS = ("UniProt accessions", "RefSeq accessions", "Ensembl ids")  # kinds that no other name looks like
STRUCTURE_AWARE = r"^(?:(?:[A-Z#][a-z#]){3,}|(?:[a-z#][A-Z#]){3,})\*?$"  # '#' is a structure that is not known
RESIDUES = "Ala|Arg|Asn|Asp|Cys|Gln|Glu|Gly|His|Ile|Leu|Lys|Met|Phe|Pro|Ser|Thr|Trp|Tyr|Val"
THREE_LETTERS = rf"(?i)^(?:(?:{RESIDUES})-?){{3,}}$"  # of nine letters at random, one in 10**7 looks so
KIND_SAMPLE = 4096  # ids that show the kind of all
MOSTLY = 0.9  # of the sample must be of the kind

Pieces = Callable[[], Iterable[pa.Array]]  # the texts of a column, from its start at each call


class ProteinIds:
    """The ids of one table in each of FORMS.

    A first word without a digit, such as that of `Antimicrobial peptide 7`, is compared only if no other id of the
    table begins with it: otherwise it names a kind of protein.

    Args:
        pieces: the ids; they are read once here and once for each form.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self.plain = True  # all ids are the same in all FORMS
        self._unused: set[str] = set()  # forms that no id has
        first: dict[str, str] = {}
        shared: set[str] = set()
        for ids in pieces():
            others = pc.match_substring_regex(ids, IN_OTHER_FORMS)
            if pc.all(pc.and_not(pc.match_substring_regex(ids, IN_ONE_FORM), others)).as_py() in (True, None):
                continue
            self.plain = False
            words = _first_words(ids)
            weak = pc.fill_null(pc.and_(pc.not_equal(words, ids), pc.match_substring_regex(words, "^[^0-9|]*$")), False)
            for word, text in zip(words.filter(weak).to_pylist(), ids.filter(weak).to_pylist(), strict=True):
                if first.setdefault(word, text) != text:
                    shared.add(word)
        self._shared = pa.array(sorted(shared), pa.string())

    @cached_property
    def kind(self) -> "IdKind":
        """The kind of these ids."""
        return kind_of(self._pieces())

    def in_form(self, form: str) -> Iterator[pa.Array]:
        """The ids in pieces (n) as before, in one of FORMS or as WHOLE; null where an id has no such form."""
        return (self._reduced(ids, form) for ids in self._pieces())

    @cached_property
    def _plain_hashes(self) -> np.ndarray:
        return np.concatenate([np.empty(0, np.uint64), *map(hash_texts, self._pieces())])

    def hashes(self, form: str) -> np.ndarray:
        """The hash of each id in that form (n, uint64); ABSENT where it has none."""
        if self.plain and form != WHOLE:
            return self._plain_hashes
        hashes = np.concatenate([np.empty(0, np.uint64), *map(hash_texts, self.in_form(form))])
        if not hashes.any():
            self._unused.add(form)
        return hashes

    def may_have(self, form: str) -> bool:
        """Whether some id may have that form; one that turned out to have no ids is known."""
        return form not in self._unused and not (self.plain and form == WHOLE)

    def _reduced(self, ids: pa.Array, form: str) -> pa.Array:
        if form == AS_WRITTEN or (self.plain and form != WHOLE):
            return ids
        words = _first_words(ids)
        if form == ENTRY_NAME:
            return _where(pc.match_substring_regex(words, TO_ENTRY_NAME), _replaced(words, TO_ENTRY_NAME))
        # Nor does the number in '10 kDa chaperonin' name a protein.
        vague = pc.or_(pc.is_in(words, value_set=self._shared), pc.match_substring_regex(words, "^[0-9]+$"))
        words = _where(pc.or_(pc.equal(words, ids), pc.invert(vague)), words)
        if form == FIRST_WORD:
            return words
        if form == CASELESS:
            return _caseless_accessions(words)
        accessions = _pdb_chains(ids, _accessions(words))
        if form == UNDERSCORED:
            return pc.replace_substring_regex(accessions, "[./]", "_")
        return _wholes(accessions) if form == WHOLE else accessions


def comparisons(ours: ProteinIds, theirs: ProteinIds, parts: bool = True) -> Iterator[tuple[str, str, str]]:
    """Those of COMPARISONS that can find something in two tables; unless `parts`, only of one protein with itself."""
    for agreement, our_form, their_form in COMPARISONS[:1] if ours.plain and theirs.plain else COMPARISONS:
        if agreement == PART and not parts:
            return
        if ours.may_have(our_form) and theirs.may_have(their_form):
            yield agreement, our_form, their_form


def match_ids(ours: ProteinIds, theirs: ProteinIds, rows: int) -> np.ndarray:
    """Which of our ids name a protein of theirs: the place in AGREEMENTS of the first that there is (n, int8), or -1.

    Needs 16 bytes per row of either table.

    Args:
        rows: how many ids of ours there are.
    """
    found = np.full(rows, -1, np.int8)
    for agreement, our_form, their_form in comparisons(ours, theirs):
        if not len(known := distinct(theirs.hashes(their_form))):
            continue
        hashes = ours.hashes(our_form)
        found[(found < 0) & (hashes != ABSENT) & members(hashes, known)] = AGREEMENTS.index(agreement)
        if (found >= 0).all():
            break
    return found


def accession_hashes(ids: ProteinIds, rows: int) -> np.ndarray:
    """The hash of each id's UniProt accession (n, uint64); ABSENT where it has none."""
    accessions = (_where(pc.match_substring_regex(a, f"^{UNIPROT}$"), a) for a in ids.in_form(ACCESSION))
    return gather(map(hash_texts, accessions), rows)


def form_counts(found: np.ndarray) -> dict[str, int]:
    """How many ids agreed how, of the answer (n) of `match_ids`; only of AGREEMENTS in which some did."""
    return {form: count for place, form in enumerate(AGREEMENTS) if (count := int((found == place).sum()))}


@dataclass(frozen=True)
class IdKind:
    """The kind of the ids of a table: a key of KINDS, or None; with an id as an example."""

    name: str | None
    example: str

    def __str__(self) -> str:
        return f"{self.name} ({self.example!r})" if self.name else f"such as {self.example!r}"


def kind_of(ids: Iterable[pa.Array]) -> IdKind:
    """The kind of ids, which come in pieces; the first few thousand show it."""
    sample: list[pa.Array] = []
    for piece in ids:
        sample.append(piece.drop_null().slice(0, KIND_SAMPLE))
        if sum(map(len, sample)) >= KIND_SAMPLE:
            break
    texts = pa.concat_arrays([pa.array([], pa.string()), *sample])
    if not len(texts):
        return IdKind(None, "")
    names = _pdb_chains(texts, _accessions(_first_words(texts)))
    strange = pa.array([True] * len(texts))
    for kind, pattern in KINDS.items():
        of_kind = pc.match_substring_regex(names, f"^(?:{pattern})$")
        if (pc.mean(of_kind).as_py() or 0) >= MOSTLY:
            return IdKind(kind, texts.filter(of_kind)[0].as_py())
        strange = pc.and_not(strange, of_kind)
    return IdKind(None, (texts.filter(strange) if pc.any(strange).as_py() else texts)[0].as_py())


def are_accessions(names: Sequence[str]) -> bool:
    """Whether names of files, arrays or columns are beyond doubt those of proteins."""
    return kind_of([pa.array(names, pa.string())]).name in ACCESSIONS


def are_structure_aware(sequences: pa.Array) -> pa.Array:
    """Which texts (n, bool) have a residue and a letter of its structure in turn, as SaProt reads them."""
    return pc.match_substring_regex(pc.replace_substring_regex(sequences, r"\s+", ""), STRUCTURE_AWARE)


def are_three_letter_codes(sequences: pa.Array) -> pa.Array:
    """Which texts (n, bool) are residues as codes of three letters, as PDB files and patents have them."""
    return pc.match_substring_regex(pc.replace_substring_regex(sequences, r"\s+", ""), THREE_LETTERS)


def clean_sequences(sequences: pa.Array) -> pa.Array:
    """Texts (n) in upper case, without white space and without one `*` at the end (the stop codon).

    Of structure-aware ones only the residues, so that they are compared with others.
    """
    texts = pc.replace_substring_regex(sequences, r"\s+", "")
    texts = pc.if_else(are_structure_aware(texts), pc.replace_substring_regex(texts, "[a-z#]", ""), texts)
    return pc.replace_substring_regex(pc.ascii_upper(texts), r"\*$", "")


def _first_words(ids: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(ids, r"^\s*>?\s*(\S+)(?s:.*)$", r"\1")


def _accessions(words: pa.Array) -> pa.Array:
    for pattern in TO_ACCESSION:
        words = _replaced(words, pattern)
    return words


def _caseless_accessions(words: pa.Array) -> pa.Array:
    """Accessions in upper case; null for anything else."""
    accessions = pc.utf8_upper(words)
    for pattern in TO_ACCESSION:
        accessions = _replaced(accessions, f"(?i){pattern}")
    return _where(pc.match_substring_regex(accessions, f"^{ONE_ACCESSION}$"), accessions)


def _pdb_chains(ids: pa.Array, accessions: pa.Array) -> pa.Array:
    """The accessions, of which those of PDB entries become such as `1abc` or `1abc_A`.

    Args:
        ids: (n) as they are written: a header of the RCSB has the chain in its second word.
    """
    header, *others = PDB
    for texts, pattern in ((ids, header), *((accessions, pattern) for pattern in others)):
        if not pc.any(pc.match_substring_regex(texts, pattern)).as_py():
            continue
        parts = pc.extract_regex(texts, pattern)
        code, chain = (pc.struct_field(parts, name) for name in ("code", "chain"))
        chain = pc.if_else(pc.equal(chain, ""), "", pc.binary_join_element_wise("_", chain, ""))
        accessions = pc.coalesce(pc.binary_join_element_wise(pc.ascii_lower(code), chain, ""), accessions)
    return accessions


def _wholes(accessions: pa.Array) -> pa.Array:
    """What each is a part or variant of; null if that cannot be seen."""
    others = pc.fill_null(pc.invert(pc.match_substring_regex(accessions, f"^{ONE_ACCESSION}$")), False)
    texts = accessions.filter(others)
    wholes = pa.nulls(len(texts), pa.string())
    for pattern in TO_WHOLE:
        whole = _replaced(texts, pattern)
        wholes = pc.coalesce(wholes, _where(pc.not_equal(whole, texts), whole))
    wholes = _accessions(wholes)
    return pc.replace_with_mask(pa.nulls(len(accessions), pa.string()), others, _pdb_chains(wholes, wholes))


def _replaced(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.replace_substring_regex(texts, pattern, r"\1")


def _where(mask: pa.Array, texts: pa.Array) -> pa.Array:
    return pc.if_else(mask, texts, pa.scalar(None, pa.string()))
