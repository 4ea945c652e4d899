"""Protein sequences, from FASTA or tables, streaming and checked.

for batch in read_proteins("proteins.fasta"):         # ProteinBatch: ids, sequences, other columns
    ...

A sequence has the letters A to Z. Lower case becomes upper case, white space and one `*` at the end (the stop codon)
are removed; gaps, digits and other characters are rejected. To add a format, write its file with a function
`read(source, choice)` that yields ProteinBatch, and add its line to READERS.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs as pafs

from resvae_ray.data.column_tables import TEXT_ENDINGS, WORKBOOKS
from resvae_ray.data.file_kind import FASTA, PARQUET, XLSX, kind_by_content
from resvae_ray.data.proteins import fasta, table
from resvae_ray.data.proteins.batch import ProteinBatch, ProteinChoice
from resvae_ray.data.same_protein import are_structure_aware, are_three_letter_codes, clean_sequences
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.place import locate

ProteinReader = Callable[[str, ProteinChoice], Iterator[ProteinBatch]]

READERS: dict[str, ProteinReader] = {
    **dict.fromkeys((".fasta", ".fa", ".faa", ".fas"), fasta.read),
    **dict.fromkeys((*TEXT_ENDINGS, *WORKBOOKS, PARQUET), table.read),
}
FAULTS_SHOWN = 3
NUCLEOTIDES = "[^ACGTUN]"  # what a nucleotide sequence does not have
STRUCTURED = "residues and structure letters in turn, as SaProt reads them; give the residues alone"
STATES = "dpv"  # in 3Di, the structure alphabet of Foldseek and ProstT5, 40 % of all letters; in proteins 17 %
STATES_SHARE = 0.28
# Foldseek writes 3Di in upper case too. There V is 22 % of all letters, D 10 %, P 8 %; in proteins 7, 5 and 5 %.
STATES_IN_UPPER_CASE = {"D": 0.07, "P": 0.05, "V": 0.15}
SPELT = "residues as codes of three letters (MetLys…); give one letter per residue"
SURELY_3DI = 1000  # letters of this composition
SURELY_PROTEIN = 200  # letters; a longer text of only A, C, G, T, U and N is not a protein


def reader_for(source: str) -> ProteinReader:
    """
    Raises:
        UsageError: no format is known by that ending, and the content shows none.
    """
    kind = kind_by_content(source)
    if kind in (FASTA, XLSX, PARQUET):
        return fasta.read if kind == FASTA else table.read
    plain = source.lower().removesuffix(".gz")
    for ending, reader in READERS.items():
        if plain.endswith(ending):
            return reader
    filesystem, place = locate(source)
    if "*" in source or filesystem.get_file_info(place).type == pafs.FileType.Directory:
        return table.read
    raise UsageError(
        f"{source}: unknown format; the endings read are {', '.join(READERS)}; of text, also with .gz; a folder or a "
        "glob is read as Parquet"
    )


def read_proteins(source: str | Path, choice: ProteinChoice | None = None) -> Iterator[ProteinBatch]:
    """The proteins of a file in order, their sequences in upper case and without white space.

    Raises:
        UsageError: an unknown format, or a column that is not there.
        DataError: what cannot be read, and, after the last protein, sequences that are empty or illegal.
    """
    source = str(source)
    faults = _Faults()
    for batch in reader_for(source)(source, choice or ProteinChoice()):
        written = batch.sequences
        batch = replace(batch, sequences=clean_sequences(written))
        faults.look_at(batch, written)
        yield batch
    faults.raise_if_any(source)


class _Faults:
    """Invalid sequences: lists the first few by name and counts all."""

    def __init__(self) -> None:
        self.count = 0
        self.shown: list[str] = []
        self.letters = 0
        self.nucleic = True
        self.lower = True
        self.states = 0
        self.upper = dict.fromkeys(STATES_IN_UPPER_CASE, 0)

    def look_at(self, batch: ProteinBatch, written: pa.Array) -> None:
        """
        Args:
            written: (n) the sequences as they are in the file.
        """
        otherwise = {STRUCTURED: are_structure_aware(written), SPELT: are_three_letter_codes(written)}
        self.lower = self.lower and not pc.any(pc.match_substring_regex(written, "[A-Z]")).as_py()
        if self.lower:
            self.states += pc.sum(pc.count_substring_regex(written, f"[{STATES}]")).as_py() or 0
        for letter in self.upper:
            self.upper[letter] += pc.sum(pc.count_substring(batch.sequences, letter)).as_py() or 0
        self.letters += pc.sum(pc.binary_length(batch.sequences)).as_py() or 0
        self.nucleic = self.nucleic and not pc.any(pc.match_substring_regex(batch.sequences, NUCLEOTIDES)).as_py()
        illegal = pc.invert(pc.match_substring_regex(batch.sequences, "^[A-Z]+$"))
        nameless = pc.equal(pc.utf8_trim_whitespace(batch.ids), "")
        wrong = pc.or_(illegal, nameless)
        for found in otherwise.values():
            wrong = pc.or_(wrong, found)
        rows = pc.indices_nonzero(wrong).to_pylist()
        self.count += len(rows)
        for row in rows[: FAULTS_SHOWN - len(self.shown)]:
            fault = next((words for words, found in otherwise.items() if found[row].as_py()), None)
            fault = fault or _fault(batch, row)
            self.shown.append(f"{_named(batch, row)}: {fault}")

    def raise_if_any(self, source: str) -> None:
        """
        Raises:
            DataError: faults were found, or all sequences are of an alphabet other than that of proteins.
        """
        if self.count:
            more = f"; and {self.count - len(self.shown):,} more" if self.count > len(self.shown) else ""
            raise DataError(f"{source}: {'; '.join(self.shown)}{more}")
        if self.nucleic and self.letters >= SURELY_PROTEIN:
            raise DataError(
                f"{source}: all sequences are of A, C, G, T, U and N alone; expected proteins, not DNA or RNA"
            )
        if self.lower and self.letters >= SURELY_PROTEIN and self.states > STATES_SHARE * self.letters:
            raise DataError(
                f"{source}: all sequences are in lower case and {self.states / self.letters:.0%} of their letters are "
                "d, p and v, as in the structure alphabet 3Di of Foldseek and ProstT5; give residues, in upper case"
            )
        shares = {letter: count / max(1, self.letters) for letter, count in self.upper.items()}
        if self.letters >= SURELY_3DI and all(shares[letter] > most for letter, most in STATES_IN_UPPER_CASE.items()):
            raise DataError(
                f"{source}: {sum(shares.values()):.0%} of all letters are D, P and V, as in the structure alphabet 3Di "
                "of Foldseek; give residues"
            )


def _named(batch: ProteinBatch, row: int) -> str:
    return f"{batch.place(row)} (id {batch.ids[row].as_py()})"


def _fault(batch: ProteinBatch, row: int) -> str:
    if not batch.ids[row].as_py().strip():
        return "the id is missing; every protein needs one"
    sequence = batch.sequences[row].as_py()
    if not sequence:
        return "the sequence is empty"
    position = next(i for i, letter in enumerate(sequence) if not "A" <= letter <= "Z")
    sign = sequence[position]
    hint = ", remove the gaps of the alignment" if sign in "-." else ""
    return f"{sign!r} at position {position + 1}; a sequence has letters only{hint}"
