"""The batch that every reader of protein sequences yields."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class ProteinChoice:
    """The user's choice of columns in a table; None selects the defaults."""

    id_column: str | None = None
    sequence_column: str | None = None
    label_column: str | None = None
    ids: str | None = None  # "rows", or a file with one id per row: no column holds them
    sheet: str | None = None  # of a workbook


@dataclass(frozen=True)
class ProteinBatch:
    """Some proteins.

    Attributes:
        ids: (n) strings.
        sequences: (n) strings.
        others: the columns that pass through, n rows if there are any; the label, if any, is called `label`.
        places: (n) the position of each protein in its file.
        unit: what `places` count from 1: lines, or rows below the header.
        headers: (n) strings, the ids as written in the file; for FASTA, the whole headers.
    """

    ids: pa.Array
    sequences: pa.Array
    others: pa.Table
    places: list[int] | range
    unit: str
    headers: pa.Array

    def __len__(self) -> int:
        return len(self.ids)

    def slice(self, start: int, rows: int) -> "ProteinBatch":
        """At most `rows` of the proteins, from `start` on."""
        return ProteinBatch(
            self.ids.slice(start, rows),
            self.sequences.slice(start, rows),
            self.others.slice(start, rows),
            self.places[start : start + rows],
            self.unit,
            self.headers.slice(start, rows),
        )

    def place(self, row: int) -> str:
        """Where the protein in `row`, from 0, stands, for a message."""
        return f"{self.unit} {self.places[row]}"
