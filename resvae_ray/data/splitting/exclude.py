"""The leak check: which proteins of FEATURES also stand in a downstream test set, by id, sequence and vector."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from resvae_ray.data.features import Features
from resvae_ray.data.hashes import hash_set, members
from resvae_ray.data.layout import ID_COLUMNS, INDEX_COLUMNS, SEQUENCE_COLUMNS, find_column, some_names
from resvae_ray.data.row_texts import hashed, sequence_column, texts_of
from resvae_ray.data.schema import IDS_KEY, ROW_NUMBERS, row_numbers
from resvae_ray.data.sequences import clean_sequences
from resvae_ray.data.splitting.other_tables import OtherTable
from resvae_ray.data.splitting.similar import rows_like
from resvae_ray.errors import DataError, UsageError
from resvae_ray.progress import Progress, silent

BY_ID, BY_SEQUENCE, BY_VECTOR = "id", "sequence", "vector"


@dataclass(frozen=True)
class Leaks:
    """What a test set holds of FEATURES.

    Attributes:
        rows: (n, bool), True for a protein that stands there too.
        found: how many by id, by sequence and by vector, as far as they were compared; one may count under several.
        not_compared: why ids or sequences were not.
    """

    rows: np.ndarray
    found: dict[str, int]
    not_compared: dict[str, str]


def find_leaks(
    source: Features, exclude: str | Path, similarity: float | None = None, progress: Progress = silent
) -> Leaks:
    """Compares FEATURES with a test set.

    Args:
        exclude: FEATURES, CSV/TSV with an id or a sequence column, FASTA, or a text with an id a line.
        similarity: also compare vectors: the cosine, after subtracting the mean of `source`, from which two are taken
            for one protein; see similar.py.
        progress: told the rows whose vectors are compared.

    Raises:
        DataError: the test set cannot be read or compared.
        UsageError: a similarity out of range.
    """
    if similarity is not None and not 0 < similarity <= 1:
        raise UsageError(f"--exclude-similarity {similarity}: expected a cosine above 0 and up to 1, such as 0.999")
    other = OtherTable.open(exclude)
    columns = {
        BY_ID: (source.layout.id, find_column(other.names, ID_COLUMNS + INDEX_COLUMNS)),
        BY_SEQUENCE: (sequence_column(source), find_column(other.names, SEQUENCE_COLUMNS)),
    }
    by, not_compared = {}, {}
    for kind, (ours, theirs) in columns.items():
        if (why := _why_not(source, other, kind, ours, theirs)) is None:
            by[kind] = _rows_with(source, kind, str(ours), other.texts(str(theirs)))
        else:
            not_compared[kind] = why
    if not by and similarity is None:
        reasons = "; ".join(f"{kind}s: {why}" for kind, why in not_compared.items())
        raise DataError(
            f"{exclude}: neither an id nor a sequence column to compare ({reasons}); its columns are "
            f"{some_names(other.names)}; --exclude-similarity compares vectors"
        )
    if similarity is not None:
        by[BY_VECTOR] = rows_like(source, exclude, similarity, progress)
    rows = np.zeros(source.rows, dtype=bool)
    for found in by.values():
        rows |= found
    return Leaks(rows, {kind: int(found.sum()) for kind, found in by.items()}, not_compared)


def require_none(leaks: Leaks, source: Features, exclude: str | Path) -> None:
    """
    Raises:
        DataError: there are some; how many by what, and the first row.
    """
    if leaks.rows.any():
        by = ", ".join(f"{count:,} by {kind}" for kind, count in leaks.found.items())
        raise DataError(
            f"{source.path}: {int(leaks.rows.sum()):,} rows also stand in {exclude} ({by}), "
            f"the first is row {int(leaks.rows.argmax()) + 1}; --drop leaves them out"
        )


def _rows_with(source: Features, kind: str, ours: str, theirs: Iterable[pa.Array]) -> np.ndarray:
    """The rows (n, bool) whose text in the column `ours` is one of `theirs`; sequences as `texts_of` gives ours."""
    texts = map(clean_sequences, theirs) if kind == BY_SEQUENCE else theirs
    return members(hashed(texts_of(source, ours), source.rows), hash_set(texts))


def _why_not(source: Features, other: OtherTable, kind: str, ours: str | None, theirs: str | None) -> str | None:
    """Why ids or sequences cannot be compared; None if they can."""
    for where, column in ((source.path, ours), (other.path, theirs)):
        if column is None:
            return f"{where} has no such column"
    if kind == BY_ID:
        # Numbers of rows are no names of proteins: row 7 here has nothing to do with row 7 there.
        for where, numbered in ((source.path, _is_numbered(source)), (other.path, other.is_numbered(theirs or ""))):
            if numbered:
                return f"those of {where} are row numbers"
    return None


def _is_numbered(source: Features) -> bool:
    ids = next(source.ids(), pa.array([], pa.string()))
    return ROW_NUMBERS in (source.provenance.get(IDS_KEY), row_numbers(source.layout.id, ids).get(IDS_KEY))
