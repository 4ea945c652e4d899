"""A column of texts of FEATURES, row by row: groups, labels, sequences."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.data.features import Features
from resvae_ray.data.hashes import gather, hash_texts
from resvae_ray.data.layout import SEQUENCE_COLUMNS, find_column, some_names
from resvae_ray.data.same_protein import clean_sequences
from resvae_ray.data.schema import as_text
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import LABEL


def column_called(source: Features, name: str) -> str:
    """The column of FEATURES that a user calls `name`; case is ignored where no column has exactly this name.

    `label` and `sequence` stand for the columns that are taken for them, whatever they are called.

    Raises:
        UsageError: there is none.
    """
    layout = source.layout
    names = [column for column in (layout.id, layout.label, *layout.others) if column is not None]
    if name in names:
        return name
    known = {LABEL: layout.label, SEQUENCE_COLUMNS[0]: sequence_column(source)}
    found = known.get(name) or find_column(names, [name.lower()])
    if found is None:
        raise UsageError(f"{source.path}: no column {name!r}; the columns are {some_names(names)}")
    return found


def sequence_column(source: Features) -> str | None:
    """The column of sequences, if there is one."""
    return find_column(source.layout.others, SEQUENCE_COLUMNS)


def texts_of(source: Features, column: str) -> Iterator[pa.Array]:
    """The texts in order, in pieces; "" where one is missing. Sequences are as `embed` writes them.

    Raises:
        DataError: the column holds what has no text.
    """
    is_sequence = column == sequence_column(source)
    for table in source.columns([column]):
        texts = pc.fill_null(as_text(table.column(0), f"{source.path}: column {column}"), "")
        yield clean_sequences(texts) if is_sequence else texts


def require_texts(source: Features, column: str, keep: np.ndarray) -> Iterator[pa.Array]:
    """The same; none of the rows to `keep` (n, bool) may lack its text.

    Raises:
        DataError: one does; the row is named.
    """
    row = 0
    for texts in texts_of(source, column):
        missing = pc.equal(texts, "").to_numpy(zero_copy_only=False) & keep[row : row + len(texts)]
        if missing.any():
            raise DataError(
                f"{source.path}: row {row + int(missing.argmax()) + 1}, column {column}: the value is missing; this "
                "split needs one in every row"
            )
        row += len(texts)
        yield texts


def hashed(texts: Iterable[pa.Array], rows: int) -> np.ndarray:
    """The hash of each row's text (n, uint64)."""
    return gather(map(hash_texts, texts), rows)


def coded(texts: Iterable[pa.Array], rows: int) -> tuple[np.ndarray, list[str]]:
    """Each row's text as its place (n, int32) among the different texts, and these, sorted."""
    numbers: dict[str, int] = {}
    codes = np.empty(rows, np.int32)
    start = 0
    for part in texts:
        encoded = part.dictionary_encode()
        table = [numbers.setdefault(text, len(numbers)) for text in encoded.dictionary.to_pylist()]
        codes[start : start + len(part)] = np.asarray(table, np.int32)[encoded.indices.to_numpy()]
        start += len(part)
    ordered = sorted(numbers)
    places = {text: place for place, text in enumerate(ordered)}
    return np.asarray([places[text] for text in numbers], np.int32)[codes], ordered
