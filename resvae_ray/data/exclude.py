"""The leak check: which proteins of FEATURES also stand in a downstream test set, by id, sequence and vector."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from resvae_ray.data.features import Features
from resvae_ray.data.hashes import hash_set, members
from resvae_ray.data.other_tables import column_names, text_column
from resvae_ray.data.row_texts import hashed, sequence_column, texts_of
from resvae_ray.data.schema import ID_COLUMNS, IDS_KEY, INDEX_COLUMNS, ROW_NUMBERS, SEQUENCE_COLUMNS, find_column
from resvae_ray.data.sequences import clean_sequences
from resvae_ray.data.similar import rows_like
from resvae_ray.errors import DataError, UsageError
from resvae_ray.progress import Progress, silent

BY_ID, BY_SEQUENCE, BY_VECTOR = "id", "sequence", "vector"


@dataclass(frozen=True)
class Leaks:
    """What a test set holds of FEATURES.

    Attributes:
        rows: (n, bool), True for a protein that stands there too.
        found: how many by id, by sequence and by vector, as far as they were compared; one may count under several.
    """

    rows: np.ndarray
    found: dict[str, int]


def find_leaks(
    source: Features, exclude: str | Path, similarity: float | None = None, progress: Progress = silent
) -> Leaks:
    """Compares FEATURES with a test set.

    Args:
        exclude: FEATURES, or CSV/TSV with an id or a sequence column.
        similarity: also compare vectors: the cosine, after subtracting the mean of `source`, from which two are taken
            for one protein; see similar.py.
        progress: told the rows whose vectors are compared.

    Raises:
        DataError: the test set cannot be read or compared.
        UsageError: a similarity out of range.
    """
    if similarity is not None and not 0 < similarity <= 1:
        raise UsageError(f"--exclude-similarity {similarity}: expected a cosine above 0 and up to 1, such as 0.999")
    columns = _columns_to_compare(source, exclude)
    if not columns and similarity is None:
        raise DataError(
            f"{exclude}: neither an id nor a sequence column to compare; it has {column_names(exclude)[:8]}; "
            "--exclude-similarity compares vectors"
        )
    by = {kind: _rows_with(source, ours, _texts(exclude, theirs, kind)) for kind, (ours, theirs) in columns.items()}
    if similarity is not None:
        by[BY_VECTOR] = rows_like(source, exclude, similarity, progress)
    rows = np.zeros(source.rows, dtype=bool)
    for found in by.values():
        rows |= found
    return Leaks(rows, {kind: int(found.sum()) for kind, found in by.items()})


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


def _rows_with(source: Features, ours: str, theirs: Iterable[pa.Array]) -> np.ndarray:
    """The rows (n, bool) whose text in the column `ours` is one of `theirs`."""
    return members(hashed(texts_of(source, ours), source.rows), hash_set(theirs))


def _texts(exclude: str | Path, column: str, kind: str) -> Iterable[pa.Array]:
    """The ids or the sequences of the test set, these as `texts_of` gives those of FEATURES."""
    texts = text_column(exclude, column)
    return map(clean_sequences, texts) if kind == BY_SEQUENCE else texts


def _columns_to_compare(source: Features, exclude: str | Path) -> dict[str, tuple[str, str]]:
    """The id and sequence columns that both sides have, ours and theirs."""
    names = column_names(exclude)
    pairs = {}
    # Numbers of rows are no names of proteins: row 7 here has nothing to do with row 7 there.
    numbered = source.provenance.get(IDS_KEY) == ROW_NUMBERS or source.layout.id in INDEX_COLUMNS
    if (theirs := find_column(names, ID_COLUMNS)) is not None and not numbered:
        pairs[BY_ID] = source.layout.id, theirs
    theirs, ours = find_column(names, SEQUENCE_COLUMNS), sequence_column(source)
    if theirs is not None and ours is not None:
        pairs[BY_SEQUENCE] = ours, theirs
    return pairs
