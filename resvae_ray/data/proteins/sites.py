"""Sites on proteins, such as phosphorylation sites: a CSV or TSV with an id and a position (from 1) a row."""

from collections import Counter
from pathlib import Path

import pyarrow as pa

from resvae_ray.data.layout import ID_COLUMNS, find_column, some_names
from resvae_ray.data.proteins.batch import ProteinBatch
from resvae_ray.data.same_protein import AS_WRITTEN, FORMS, ProteinIds
from resvae_ray.data.text_table import TextTable
from resvae_ray.errors import DataError

POSITION_COLUMNS = ("position", "pos", "site", "phosphorylation_positions")


class Sites:
    """The sites of all proteins, held in memory; asked for batch by batch, in any order.

    Ids of both tables are compared in the forms of same_protein.py; `matched` counts the proteins by form.

    Args:
        path: a table with an id column and one of POSITION_COLUMNS.
        reach: how many residues of a protein are read, if not all; sites beyond are left out, and counted in `cut`.

    Raises:
        DataError: no such file or columns, a position that is none, a site that stands twice.
    """

    def __init__(self, path: str | Path, reach: int | None = None) -> None:
        self.path, self.reach, self.cut = str(path), reach, 0
        self.matched: Counter[str] = Counter()
        self._rows: dict[str, dict[int, int]] = {}  # id to position to row
        self._seen: set[str] = set()
        self._proteins: pa.Array = pa.array([], pa.string())  # some of their headers
        table = TextTable.of(self.path)
        names = table.names
        id_column, position = find_column(names, ID_COLUMNS), find_column(names, POSITION_COLUMNS)
        if id_column is None or position is None:
            raise DataError(f"{self.path}: expected columns id and position; the columns are {some_names(names)}")
        row = 0
        for piece in table.pieces(dict.fromkeys(names, pa.string())):
            for name, text in zip(piece[id_column].to_pylist(), piece[position].to_pylist(), strict=True):
                row += 1
                self._add(name, text, row)
        self._ids = ProteinIds(lambda: [pa.array(list(self._rows), pa.string())])
        self._known = {form: self._by_key(form) for form in FORMS}

    def of(self, batch: ProteinBatch) -> pa.Array:
        """The positions of each protein's sites that are read, ascending (n lists of int32).

        Raises:
            DataError: a position beyond the end of its sequence.
        """
        self._proteins = self._proteins if len(self._proteins) else batch.headers
        ids = ProteinIds(lambda: [batch.headers])
        forms = [batch.ids.to_pylist(), *(next(ids.in_form(form)).to_pylist() for form in FORMS[1:])]
        sequences = batch.sequences.to_pylist()
        return pa.array(
            [self._positions(*protein) for protein in zip(zip(*forms, strict=True), sequences, strict=True)],
            pa.list_(pa.int32()),
        )

    def require_all_seen(self) -> None:
        """
        Raises:
            DataError: a site is on a protein that no batch held.
        """
        for name, sites in self._rows.items():
            if name not in self._seen:
                ours, theirs = self._ids.kind, ProteinIds(lambda: [self._proteins]).kind
                kinds = "" if self._seen or ours.name == theirs.name else f"; these are {ours}, the proteins {theirs}"
                raise DataError(f"{self.path}: row {min(sites.values())}: id {name!r} is none of the proteins{kinds}")

    def _by_key(self, form: str) -> dict[str, list[str]]:
        """The ids that have each text in that form."""
        known: dict[str, list[str]] = {}
        for name, key in zip(self._rows, next(iter(self._ids.in_form(form))).to_pylist(), strict=True):
            if key:
                known.setdefault(key, []).append(name)
        return known

    def _add(self, name: str, text: str, row: int) -> None:
        if not text.strip().isdecimal() or not 1 <= int(text) < 2**31:
            raise DataError(f"{self.path}: row {row} (id {name}): position {text!r}; expected a whole number from 1")
        other = self._rows.setdefault(name, {}).setdefault(int(text), row)
        if other != row:
            raise DataError(f"{self.path}: position {int(text)} of {name!r} appears in row {other} and in row {row}")

    def _positions(self, forms: tuple[str | None, ...], sequence: str) -> list[int]:
        """The positions for a protein with these texts in each of FORMS."""
        pairs = zip(FORMS, forms, strict=True)
        form, names = next(((f, self._known[f][key]) for f, key in pairs if key in self._known[f]), (AS_WRITTEN, []))
        if not names:
            return []
        self.matched[form] += 1
        self._seen.update(names)
        sites = {position: row for name in names for position, row in self._rows[name].items()}
        if max(sites) > len(sequence):
            raise DataError(
                f"{self.path}: row {sites[max(sites)]} (id {names[0]}): position {max(sites)}, but the sequence has "
                f"{len(sequence)} residues"
            )
        read = [position for position in sorted(sites) if self.reach is None or position <= self.reach]
        self.cut += len(sites) - len(read)
        return read
