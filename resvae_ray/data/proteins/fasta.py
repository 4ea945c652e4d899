"""FASTA, also gzipped: `>id description`, then the sequence in any number of lines.

The id is the first word after `>`; of a UniProt header (`>sp|P12345|NAME_HUMAN …`, `>tr|…`) it is the accession, and of
a header of the RCSB (`>1ABC_1|Chain A|…`) entry and chain. The rest of the header becomes the column `description`.
Lines that begin with `;` are comments.
"""

import io
import re
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from resvae_ray.data.proteins.batch import ProteinBatch, ProteinChoice
from resvae_ray.data.same_protein import PDB
from resvae_ray.data.text_table import open_stream
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import DESCRIPTION

BATCH_PROTEINS = 8192
LETTERS_MOST = 1 << 24  # of a line, and of a protein: the longest one known has 45,000
PIR = re.compile(r">(?:P1|F1|D[LC]|R[LC]|N[13]|XX);")
RCSB = re.compile(PDB[0])
UNIPROT = re.compile(r"(?:sp|tr)\|([^|\s]+)\|")

Record = tuple[str, str, str, int, str]  # id, sequence, description, line, header


def read(source: str, choice: ProteinChoice) -> Iterator[ProteinBatch]:
    """The proteins of a FASTA file, in order.

    Raises:
        UsageError: columns were chosen, which FASTA does not have.
        DataError: no such file, not text, nothing in it, or something before the first header.
    """
    if choice != ProteinChoice():
        raise UsageError(f"{source}: a FASTA file has no columns to choose; leave out the options that name them")
    records = _records(source)
    first = next(records, None)
    if first is None:
        raise DataError(f"{source}: the file is empty; expected a header that begins with '>'")
    block = [first, *islice(records, BATCH_PROTEINS - 1)]
    while block:
        yield _batch(block)
        block = list(islice(records, BATCH_PROTEINS))


def _batch(records: list[Record]) -> ProteinBatch:
    ids, sequences, descriptions, lines, headers = zip(*records, strict=True)
    ids, sequences, descriptions, headers = (
        pa.array(texts, pa.string()) for texts in (ids, sequences, descriptions, headers)
    )
    return ProteinBatch(ids, sequences, pa.table({DESCRIPTION: descriptions}), list(lines), "line", headers)


def _records(source: str) -> Iterator[Record]:
    header, start, letters, length = None, 0, [], 0
    for number, line in _lines(source):
        if line.startswith(">"):
            if PIR.match(line):
                raise DataError(
                    f"{source}: line {number}: {line.strip()[:20]!r} is a header of PIR, with a title below it; "
                    "convert the file to FASTA"
                )
            if header is not None:
                yield _record(header, letters, start)
            header, start, letters, length = line, number, [], 0
        elif line.startswith(";"):
            continue
        elif header is not None:
            letters.append(line)
            length += len(line)
            if length > LETTERS_MOST:
                raise DataError(f"{source}: line {start}: a sequence of more than {LETTERS_MOST:,} letters")
        elif line.strip():
            raise DataError(f"{source}: line {number}: {line.strip()[:20]!r} is not a FASTA header ('>' is missing)")
    if header is not None:
        yield _record(header, letters, start)


def _record(header: str, letters: list[str], line: int) -> Record:
    name, *rest = header[1:].split(maxsplit=1) or [""]
    if found := UNIPROT.match(name):
        name = found[1]
    elif found := RCSB.match(header[1:]):
        name = f"{found['code']}_{found['chain']}"
    return name, "".join(letters), rest[0].rstrip() if rest else "", line, header[1:].strip()


def _lines(source: str) -> Iterator[tuple[int, str]]:
    with open_stream(source) as raw:
        try:
            text = io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8-sig")  # pyright: ignore[reportArgumentType]
            for number, line in enumerate(iter(lambda: text.readline(LETTERS_MOST), ""), 1):
                if len(line) == LETTERS_MOST:
                    raise DataError(f"{source}: line {number} has more than {LETTERS_MOST:,} letters")
                yield number, line
        except UnicodeDecodeError as error:
            raise DataError(f"{source}: not UTF-8 text: {error}") from None
        except OSError as error:
            raise DataError(f"{source}: damaged: {error}") from None
