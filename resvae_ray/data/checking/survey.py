"""One pass over FEATURES that rejects nothing: it counts missing and non-finite values and measures the rest.

Memory: the matrices of moments.py, and 8 bytes per row for the hashes of the vectors.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from bisect import bisect_right
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from resvae_ray.data.features import Features, rows_in
from resvae_ray.data.hashes import ABSENT, find_repeats, hash_vectors, members
from resvae_ray.data.layout import Layout
from resvae_ray.data.moments import Moments, RoundedCovariance, moments_for
from resvae_ray.data.schema import all_finite, as_array, as_text, decode_matrix
from resvae_ray.names import FEATURES
from resvae_ray.progress import Progress

SKETCH = 32  # numbers of a vector, evenly spaced, that are hashed first
PIECE_BYTES = 16 << 20  # of float32 whose products are added at a time: a D x D matrix is added for each
SURVEY_PART_BYTES = 1 << 30  # of float32 whose moments are gathered before they are joined with others


@dataclass(frozen=True)
class Location:
    """A row of FEATURES, counted from 1 in its file, and the column in question, if it is one."""

    file: str
    row: int
    id: str | None
    column: str | None = None

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"row {self.row} (id {self.id}){column} of {self.file}"


@dataclass
class Survey:
    """Counts and moments of the rows read so far.

    Attributes:
        missing: rows without an id, a vector or one of its values.
        nonfinite: rows whose vector holds NaN, infinity or a missing value; the last count under both.
        moments: of the rows that are whole.
        vectors: (n, uint64) hashes of SKETCH numbers of their vectors, ABSENT for other rows.
    """

    moments: Moments
    vectors: np.ndarray
    missing: int = 0
    nonfinite: int = 0
    first_missing: Location | None = None
    first_nonfinite: Location | None = None


@dataclass(frozen=True)
class SurveyPart:
    """Some consecutive row groups of FEATURES.

    Attributes:
        start, rows: number of the first row among all, from 0, and of the rows.
        files, first_groups, end_groups: of each file the first row group, and the one behind the last.
    """

    start: int
    rows: int
    files: list[str]
    first_groups: list[int]
    end_groups: list[int]


def survey_parts(source: Features) -> list[SurveyPart]:
    """All row groups, in parts of about SURVEY_PART_BYTES, which are surveyed apart.

    Where there are fewer rows than features, the moments hold the rows themselves, and there is one part.
    """
    found, start = [SurveyPart(0, 0, [], [], [])], 0
    most = rows_in(SURVEY_PART_BYTES, source.dim) if source.rows >= source.dim else source.rows
    for group in source.groups():
        if not group.rows:
            continue
        last = found[-1]
        if last.rows >= most:
            found.append(last := SurveyPart(start, 0, [], [], []))
        if last.files[-1:] != [group.file]:
            last = replace(
                last,
                files=[*last.files, group.file],
                first_groups=[*last.first_groups, group.index],
                end_groups=[*last.end_groups, 0],
            )
        ends = [*last.end_groups[:-1], group.index + 1]
        found[-1] = replace(last, rows=last.rows + group.rows, end_groups=ends)
        start += group.rows
    return found


def survey(source: Features, progress: Progress) -> Survey:
    """Reads all rows, part by part.

    Raises:
        DataError: a file is damaged, or holds text among the numbers or vectors of two widths.
    """
    return joined(source, (survey_part(source, part, progress) for part in survey_parts(source)))


def joined(source: Features, surveys: Iterable[Survey]) -> Survey:
    """The survey of all rows, from those of the parts in their order."""
    whole = Survey(_moments(source), np.full(source.rows, ABSENT))
    start = 0
    for found in surveys:
        whole.moments.join(found.moments)
        whole.vectors[start : start + len(found.vectors)] = found.vectors
        whole.missing += found.missing
        whole.nonfinite += found.nonfinite
        whole.first_missing = whole.first_missing or found.first_missing
        whole.first_nonfinite = whole.first_nonfinite or found.first_nonfinite
        start += len(found.vectors)
    return whole


def survey_part(source: Features, part: SurveyPart, progress: Progress) -> Survey:
    """Reads a part; the products of its rows are computed while the next ones are read.

    Raises:
        DataError: see `survey`.
    """
    found, start = Survey(_moments(source), np.full(part.rows, ABSENT)), 0
    # The threads of a BLAS wait for each other by spinning: two of them take three times the CPU of one here.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(1) as beside:
        adding = beside.submit(found.moments.add, np.empty((0, source.dim), np.float32))
        for file, first, end in zip(part.files, part.first_groups, part.end_groups, strict=True):
            for row, table in source.tables(file, range(first, end), rows_in(PIECE_BYTES, source.dim)):
                whole = _take_in(found, source, file, row, table, start)
                adding.result()
                adding = beside.submit(found.moments.add, whole)
                start += len(table)
                progress(part.start + start, source.rows)
        adding.result()
    return found


def _moments(source: Features) -> Moments:
    return moments_for(source.rows, source.dim, RoundedCovariance)


def _take_in(found: Survey, source: Features, file: str, row: int, table: pa.Table, start: int) -> np.ndarray:
    """Counts the rows of `table`; the first is `row` of its file and the one at `start`, from 0, of the part.

    Returns:
        The vectors (n, D) that are whole, which the moments still lack.
    """
    ids = as_text(table.column(source.id_column), f"{file}: column {source.id_column}")
    absent, gaps = _missing(table, source.layout, ids)
    missing = absent | gaps
    if missing.any():
        first = int(missing.argmax())
        found.missing += int(missing.sum())
        found.first_missing = found.first_missing or Location(file, row + first, ids[first].as_py())
    present = np.flatnonzero(~absent)
    there = table.filter(pa.array(~absent)) if absent.any() else table
    matrix = decode_matrix(_gaps_as_nan(there, source.layout), source.layout, file, row)
    source.require_width(matrix, file, row)
    if not all_finite(matrix):
        finite = np.isfinite(matrix).all(1)
        first = int(present[finite.argmin()])
        column = int(np.isfinite(matrix[finite.argmin()]).argmin())
        found.nonfinite += int((~finite).sum())
        found.first_nonfinite = found.first_nonfinite or Location(
            file, row + first, ids[first].as_py(), feature_name(source.layout, column)
        )
        matrix, present = matrix[finite], present[finite]
    found.vectors[start + present] = hash_vectors(matrix[:, :: max(1, source.dim // SKETCH)])
    return matrix


def repeated_vectors(source: Features, found: Survey) -> int:
    """Rows that repeat the vector of an earlier row; reads the row groups again in which SKETCH numbers repeat.

    Raises:
        DataError: see `survey`.
    """
    ordered = np.sort(found.vectors)
    repeated = ordered[1:][(ordered[1:] == ordered[:-1]) & (ordered[1:] != ABSENT)]
    return find_repeats(_hashes_of(source, members(found.vectors, repeated))).rows if len(repeated) else 0


def _hashes_of(source: Features, chosen: np.ndarray) -> np.ndarray:
    """(n, uint64) hashes of the vectors of some rows (n, bool), which are whole; ABSENT for the others."""
    hashes, start = np.full(len(chosen), ABSENT), 0
    for group in source.groups():
        pieces = source.tables(group.file, [group.index]) if chosen[start : start + group.rows].any() else ()
        at = start
        for row, table in pieces:
            rows = chosen[at : at + len(table)]
            matrix = decode_matrix(table.filter(pa.array(rows)), source.layout, group.file, row)
            hashes[at + np.flatnonzero(rows)] = hash_vectors(matrix)
            at += len(table)
        start += group.rows
    return hashes


def _missing(table: pa.Table, layout: Layout, ids: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The rows (n, bool) without an id or a vector, and those that lack a value of it."""
    absent = pc.equal(pc.fill_null(ids, ""), "").to_numpy(zero_copy_only=False)
    if not layout.wide:
        vectors = _storage(table.column(layout.features[0]))
        return absent | vectors.is_null().to_numpy(zero_copy_only=False), _with_gaps(vectors)
    lacking = np.zeros(len(table), np.int32)
    for name in layout.features:
        if table.column(name).null_count:
            lacking += table.column(name).is_null().to_numpy()
    return absent | (lacking == len(layout.features)), lacking > 0


def _with_gaps(vectors: pa.Array) -> np.ndarray:
    rows = np.zeros(len(vectors), dtype=bool)
    values = vectors.flatten()
    if values.null_count:
        rows[pc.list_parent_indices(vectors).filter(values.is_null()).to_numpy()] = True
    return rows


def _gaps_as_nan(table: pa.Table, layout: Layout) -> pa.Table:
    """The table with NaN for each missing value of a vector; no vector is missing as a whole.

    A missing value is as good as NaN: pandas writes NaN as a missing value.
    """
    for name in layout.features:
        column = table.column(name)
        if layout.wide and column.null_count and _is_number(column.type):
            table = table.set_column(table.schema.get_field_index(name), name, _filled(column))
        elif not layout.wide and (values := (vectors := _storage(column)).flatten()).null_count:
            lengths = pc.list_value_length(vectors).to_numpy()
            offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
            filled = pa.LargeListArray.from_arrays(offsets, _filled(values))
            table = table.set_column(table.schema.get_field_index(name), name, filled)
    return table


def _filled(values: pa.Array) -> pa.Array:
    return pc.fill_null(values.cast(pa.float64(), safe=False), float("nan"))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _storage(column: pa.ChunkedArray) -> pa.Array:
    """A column of vectors in one piece, as a plain list."""
    vectors = as_array(column)
    return vectors.storage if isinstance(vectors.type, pa.FixedShapeTensorType) else vectors


def feature_name(layout: Layout, position: int) -> str:
    """The user's name for the feature at `position`, from 0."""
    return layout.features[position] if layout.wide else f"{FEATURES}[{position}]"


def place_of(source: Features, row: int) -> Location:
    """The location of a row, numbered from 0 over all files."""
    ends = list(accumulate(source.file_rows))
    file = bisect_right(ends, row)
    start = ends[file] - source.file_rows[file]
    return Location(source.files[file], row - start + 1, _id_at(source, row))


def _id_at(source: Features, row: int) -> str | None:
    start = 0
    for ids in source.ids():
        if row < start + len(ids):
            return ids[row - start].as_py()
        start += len(ids)
    return None
