"""The leak check: which proteins of FEATURES also stand in a downstream test set, by id and by sequence."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from resvae_ray.data.features import SUFFIX, Features, parquet_file
from resvae_ray.data.schema import (
    ID_COLUMNS,
    IDS_KEY,
    INDEX_COLUMNS,
    ROW_NUMBERS,
    SEQUENCE_COLUMNS,
    as_text,
    find_column,
)
from resvae_ray.errors import DataError
from resvae_ray.storage import list_files, locate


def rows_to_keep(source: Features, exclude: str | Path, drop: bool) -> np.ndarray:
    """Which rows stay (n, bool): all but those whose id or sequence the test set holds.

    Args:
        exclude: FEATURES, or CSV/TSV with an id or a sequence column.
        drop: leave such rows out; without it they are an error.

    Raises:
        DataError: the test set cannot be read or compared, or without `drop` holds some of the rows.
    """
    keep = np.ones(source.rows, dtype=bool)
    columns = _columns_to_compare(source, exclude)
    for theirs, ours in columns.items():
        held = pa.concat_arrays(
            [as_text(table.column(0), f"{exclude}: {theirs}") for table in _column_of(exclude, theirs)]
        )
        held = held.filter(pc.and_(pc.is_valid(held), pc.not_equal(held, "")))
        start = 0
        for table in source.columns([ours]):
            mine = as_text(table.column(0), f"{source.path}: column {ours}")
            inside = pc.is_in(mine, value_set=held).to_numpy(zero_copy_only=False)
            keep[start : start + len(inside)] &= ~inside
            start += len(inside)
    if not drop and not keep.all():
        first = int(np.flatnonzero(~keep)[0])
        raise DataError(
            f"{source.path}: {int((~keep).sum())} rows also stand in {exclude} (by {' or '.join(columns.values())}), "
            f"the first is row {first + 1}; --drop leaves them out"
        )
    return keep


def _columns_to_compare(source: Features, exclude: str | Path) -> dict[str, str]:
    """The id and sequence columns that both sides have: theirs to ours."""
    their_names = _names_of(exclude)
    pairs = {}
    # Numbers of rows are no names of proteins: row 7 here has nothing to do with row 7 there.
    numbered = source.provenance.get(IDS_KEY) == ROW_NUMBERS or source.layout.id in INDEX_COLUMNS
    if (theirs := find_column(their_names, ID_COLUMNS)) is not None and not numbered:
        pairs[theirs] = source.layout.id
    theirs, ours = find_column(their_names, SEQUENCE_COLUMNS), find_column(source.layout.others, SEQUENCE_COLUMNS)
    if theirs is not None and ours is not None:
        pairs[theirs] = ours
    if not pairs:
        raise DataError(f"{exclude}: neither an id nor a sequence column to compare; it has {their_names[:8]}")
    return pairs


def _delimiter(path: str) -> str | None:
    """The delimiter of a CSV or TSV by its ending; None for anything else, which is read as Parquet."""
    lower = path.lower().removesuffix(".gz")
    return {".csv": ",", ".tsv": "\t"}.get(lower[-4:])


def _names_of(path: str | Path) -> list[str]:
    if _delimiter(str(path)) is None:
        filesystem, files = list_files(path, SUFFIX)
        return parquet_file(filesystem, files[0]).schema_arrow.names
    with _open_csv(str(path), None) as reader:
        return reader.schema.names


def _column_of(path: str | Path, name: str) -> Iterator[pa.Table]:
    if _delimiter(str(path)) is None:
        filesystem, files = list_files(path, SUFFIX)
        for file in files:
            try:
                yield parquet_file(filesystem, file).read(columns=[name])
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(f"{file}: damaged: {str(error).splitlines()[0]}") from None
    else:
        with _open_csv(str(path), name) as reader:
            try:
                yield pa.Table.from_batches(reader, reader.schema)
            except pa.ArrowInvalid as error:
                raise DataError(f"{path}: {str(error).splitlines()[0]}") from None


def _open_csv(path: str, only: str | None) -> pacsv.CSVStreamingReader:
    filesystem, place = locate(path)
    try:
        return pacsv.open_csv(
            filesystem.open_input_stream(place, compression="detect"),
            parse_options=pacsv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                include_columns=[only] if only else [], column_types={only: pa.string()} if only else {}
            ),
        )
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from None
