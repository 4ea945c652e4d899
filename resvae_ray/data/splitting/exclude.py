"""The leak check: which proteins of FEATURES also appear in a downstream test set, by id, sequence and vector.

Vectors are compared by their cosine *after the mean of FEATURES is subtracted from both*. The plain cosine is
useless here: language-model features share a large common mean, and a few outlier dimensions dominate it (Timkey & van
Schijndel 2021, arXiv:2109.04404); any two ESM-2 650M `cls` features have a cosine of about 0.98. Centred,
unrelated proteins have one around 0, and at 0.999 two vectors differ by about 4.5 % of their distance from the mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from resvae_ray.data.column_tables import ColumnTable
from resvae_ray.data.features import Features, rows_in
from resvae_ray.data.file_kind import HDF5, NPY, NPZ, PT, kind_by_content
from resvae_ray.data.hashes import hash_set, members
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS, only_number_rows
from resvae_ray.data.importers import READERS, read_features, reader_for
from resvae_ray.data.layout import (
    ID_COLUMNS,
    INDEX_COLUMNS,
    SEQUENCE_COLUMNS,
    ColumnChoice,
    find_column,
    some_names,
)
from resvae_ray.data.other_tables import column_of_ids, open_table
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.data.row_texts import hashed, sequence_column, texts_of
from resvae_ray.data.same_protein import AS_WRITTEN, ProteinIds, clean_sequences, form_counts, match_ids
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.place import locate
from resvae_ray.names import ID
from resvae_ray.progress import Progress, silent

FEATURES_ALONE = (NPZ, NPY, HDF5, ".hdf5", ".h5ad", PT)  # formats that are not tables of ids
BY_ID, BY_SEQUENCE, BY_VECTOR = "id", "sequence", "vector"
BLOCK_BYTES = 128 << 20  # of the other set's float32 held at a time; FEATURES are read once for each block
PRODUCT_COLUMNS = 4096  # vectors of a block compared at a time
TOLERANCE = 1e-6  # of a cosine computed in float32
NO_DIRECTION = 1e-7  # of its length: a vector so near the mean differs from it by the rounding of float32


@dataclass(frozen=True)
class Leaks:
    """The rows of FEATURES that a test set holds too.

    Attributes:
        rows: (n, bool), True for a protein that the test set also contains.
        found: how many by id, by sequence and by vector, as far as they were compared; one may count under several.
        not_compared: why ids or sequences were not.
        id_forms: how many of those found by id agreed in which form; see same_protein.py.
    """

    rows: np.ndarray
    found: dict[str, int]
    not_compared: dict[str, str]
    id_forms: dict[str, int] = field(default_factory=dict)


def find_leaks(
    source: Features, exclude: str | Path, similarity: float | None = None, progress: Progress = silent
) -> Leaks:
    """Compares FEATURES with a test set.

    Args:
        exclude: FEATURES, features in another format, a table with an id or a sequence column, FASTA, or a text with
            one id per line.
        similarity: also compare vectors: two are taken for one protein if their cosine, after the mean of `source` is
            subtracted, is at least this.
        progress: told the rows whose vectors are compared.

    Raises:
        DataError: the test set cannot be read or compared.
        UsageError: a similarity out of range.
    """
    if similarity is not None and not 0 < similarity <= 1:
        raise UsageError(f"--exclude-similarity {similarity}: expected a cosine above 0 and up to 1, such as 0.999")
    other = _open(str(exclude))
    columns = {
        BY_ID: (source.layout.id, _id_column(other, source)),
        BY_SEQUENCE: (sequence_column(source), find_column(other.names, SEQUENCE_COLUMNS)),
    }
    by: dict[str, np.ndarray] = {}
    not_compared: dict[str, str] = {}
    id_forms: dict[str, int] = {}
    doubtful = False
    for kind, (ours, theirs) in columns.items():
        if (why := _why_not(source, other, kind, ours, theirs)) is not None:
            not_compared[kind] = why
        elif kind == BY_SEQUENCE:
            by[kind] = _rows_with_sequence(source, other, str(ours), str(theirs))
        else:
            matched, why, doubtful = _match_ids(source, other, str(theirs))
            by, not_compared = ({}, {kind: why}) if why else ({kind: matched >= 0}, {})
            id_forms = form_counts(matched)
    if not by and similarity is None and not doubtful:
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
    return Leaks(rows, {kind: int(found.sum()) for kind, found in by.items()}, not_compared, id_forms)


class _FeaturesTable(ColumnTable):
    """Features in a format that `import` reads."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        with closing(read_features(path, ColumnChoice())) as batches:
            first = next(batches, None)
        if first is None:
            raise DataError(f"{path}: it holds no rows")
        self.names = [ID, *first.others.column_names]
        self._found = first.found

    def pieces(self, names: Sequence[str], ids: str | None = None) -> Iterator[pa.Table]:
        for batch in read_features(self.path, ColumnChoice()):
            yield pa.table({name: batch.ids if name == ID else batch.others.column(name) for name in names})

    def is_numbered(self, name: str) -> bool:
        return self._found.get(IDS_KEY) == ROW_NUMBERS or super().is_numbered(name)


def _open(path: str) -> ColumnTable:
    """Opens the test set; if it is not a table of ids, reads it as features."""
    kind = kind_by_content(path) or next((ending for ending in READERS if path.lower().endswith(ending)), None)
    filesystem, place = locate(path)
    if filesystem.get_file_info(place).type == pafs.FileType.Directory:
        return (open_table if reader_for(path) is READERS[SUFFIX] else _FeaturesTable)(path)
    return (_FeaturesTable if kind in FEATURES_ALONE else open_table)(path)


def require_none(leaks: Leaks, source: Features, exclude: str | Path) -> None:
    """
    Raises:
        DataError: there are some; how many by what, and the first row.
    """
    if leaks.rows.any():
        by, forms = counts_in_words(leaks.found), forms_in_words(leaks.id_forms)
        raise DataError(
            f"{source.path}: {int(leaks.rows.sum()):,} rows also appear in {exclude} ({by}), "
            f"the first is row {int(leaks.rows.argmax()) + 1}{forms}; --drop leaves them out"
        )


def counts_in_words(found: Mapping[str, int]) -> str:
    """How many rows were found by what."""
    return ", ".join(f"{count:,} by {kind}" for kind, count in found.items())


def forms_in_words(id_forms: Mapping[str, int]) -> str:
    """In which form how many ids agree, to be added to a line; empty if all agree as they are written."""
    if not set(id_forms) - {AS_WRITTEN}:
        return ""
    return f"; the ids agree {', '.join(f'{form} ({count:,})' for form, count in id_forms.items())}"


def _id_column(other: ColumnTable, source: Features) -> str | None:
    """The column with a usual name of ids, the index, or the one whose texts agree most with the ids of FEATURES."""
    if (usual := find_column(other.names, ID_COLUMNS)) is not None:
        return usual
    index = find_column(other.names, INDEX_COLUMNS)
    if index is not None and not other.is_numbered(index):
        return index
    return column_of_ids(other, ProteinIds(source.ids), source.rows)[0] or index


def _match_ids(source: Features, other: ColumnTable, theirs: str) -> tuple[np.ndarray, str, bool]:
    """The answer of `match_ids`; where nothing agrees since the ids are of two kinds, that in words.

    The last is whether they may be of one kind all the same, since one of the kinds is not known.

    Raises:
        DataError: the test set lists no ids.
    """
    mine, known = ProteinIds(source.ids), ProteinIds(lambda: other.ids(theirs))
    if not known.kind.example:
        raise DataError(f"{other.path}: it lists no ids")
    matched = match_ids(mine, known, source.rows)
    if (matched >= 0).any() or mine.kind.name == known.kind.name:
        return matched, "", False
    why = (
        f"none agrees, and they are of two kinds: {source.path} has {mine.kind}, {other.path} has {known.kind}; "
        "give a test set with such ids or with sequences"
    )
    return matched, why, None in (mine.kind.name, known.kind.name)


def _rows_with_sequence(source: Features, other: ColumnTable, ours: str, theirs: str) -> np.ndarray:
    """The rows (n, bool) whose sequence in the column `ours` also appears in the column `theirs`."""
    return members(hashed(texts_of(source, ours), source.rows), hash_set(map(clean_sequences, other.texts(theirs))))


def _why_not(source: Features, other: ColumnTable, kind: str, ours: str | None, theirs: str | None) -> str | None:
    """Why ids or sequences cannot be compared; None if they can."""
    for where, column in ((source.path, ours), (other.path, theirs)):
        if column is None:
            return f"{where} has no such column"
    if kind == BY_ID:
        # Row numbers do not identify proteins: row 7 of one table is unrelated to row 7 of the other.
        for where, numbered in ((source.path, is_numbered(source)), (other.path, other.is_numbered(theirs or ""))):
            if numbered:
                return f"those of {where} are row numbers"
    return None


def is_numbered(source: Features) -> bool:
    """Whether the ids of FEATURES are but the numbers of their rows."""
    return source.provenance.get(IDS_KEY) == ROW_NUMBERS or only_number_rows(source.layout.id, source.ids)


def rows_like(source: Features, other: str | Path, threshold: float, progress: Progress) -> np.ndarray:
    """Which rows of `source` (n, bool) have a centred cosine of at least `threshold` with a vector of `other`.

    A vector that equals the mean has no direction; it is only like one that equals it too. Memory does not depend on
    the number of rows on either side but for the answer.

    Args:
        other: features in any format that `import` reads.
        progress: told the rows of `source` read so far: once for the mean, then once for each block of `other`.

    Raises:
        DataError: `other` has no features, or of another width.
    """
    mean = _mean(source, progress)
    like = np.zeros(source.rows, dtype=bool)
    done = source.rows
    for theirs in _blocks(str(other), mean):
        start = 0
        for batch in source.batches():
            ours = _directions(batch.features, mean)
            like[start : start + len(ours)] |= _near(ours, theirs, threshold)
            start, done = start + len(ours), done + len(ours)
            progress(done, None)
    return like


def _mean(source: Features, progress: Progress) -> np.ndarray:
    total, rows = np.zeros(source.dim), 0
    for batch in source.batches():
        total += batch.features.sum(0, dtype=np.float64)
        rows += len(batch)
        progress(rows, None)
    return total / rows


def _blocks(other: str, mean: np.ndarray) -> Iterator[np.ndarray]:
    """The directions (m, D) of the other set's vectors, in blocks of about BLOCK_BYTES."""
    parts: list[np.ndarray] = []
    for batch in read_features(other, ColumnChoice()):
        if (width := batch.features.shape[1]) != len(mean):
            raise DataError(f"{other}: vectors of {width} numbers; to be compared they must have {len(mean)}")
        parts.append(_directions(batch.features, mean))
        if sum(map(len, parts)) >= rows_in(BLOCK_BYTES, len(mean)):
            yield np.concatenate(parts)
            parts = []
    if parts:
        yield np.concatenate(parts)


def _directions(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The rows less the mean (n, D), each of length 1, or 0 where it equals the mean."""
    centred = features - mean
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directed = lengths > NO_DIRECTION * np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=directed).astype(np.float32)


def _near(ours: np.ndarray, theirs: np.ndarray, threshold: float) -> np.ndarray:
    near = np.zeros(len(ours), dtype=bool)
    for start in range(0, len(theirs), PRODUCT_COLUMNS):
        part = theirs[start : start + PRODUCT_COLUMNS]
        near |= (ours @ part.T).max(1) >= threshold - TOLERANCE
    if not theirs.any(1).all():
        near |= ~ours.any(1)
    return near
