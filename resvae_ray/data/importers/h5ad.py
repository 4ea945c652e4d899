"""H5AD, the file of AnnData: X or a matrix of obsm, the names of the observations as ids, the columns of obs.

Read as anndata's documentation of its on-disk format has it (version 0.8 and later): anndata's own backed mode leaves X
on the disk, but holds every matrix of obsm in memory. A sparse matrix is unpacked a few rows at a time; one that is
stored column by column (CSC) is held whole.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.data.features import batch_rows
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS, only_number_rows, require_none_passed_over
from resvae_ray.data.importers.arrays import as_batch, column_names, is_matrix, require_width
from resvae_ray.data.importers.hdf5 import TEXTS_AT_ONCE, children, column_piece, open_hdf5, require_filled, row_pieces
from resvae_ray.data.layout import ColumnChoice, some_names
from resvae_ray.data.schema import FeatureBatch, as_text, check_batch
from resvae_ray.errors import DataError, UsageError

OLD = "the file is older than anndata 0.8; write it anew: anndata.read_h5ad(OLD).write_h5ad(NEW)"


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The observations, in order. `--features-column` names X or a key of obsm; `--id-column` a column of obs.

    Without a choice X is read, and if there is no X the only matrix of obsm.

    Raises:
        DataError: not an H5AD file, no matrix or several, an unknown encoding, a missing id, NaN.
        UsageError: h5py is not installed; a matrix or column that the user named is not there.
    """
    with open_hdf5(source) as file:
        top = dict(children(file, source))
        matrices = _matrices(top, source)
        place = _matrix_place(matrices, top, source, choice)
        columns, of_ids = _columns(top.get("obs"), source, choice)
        start = 0
        for piece in _pieces(matrices[place], f"{source}: {place}"):
            stop = start + len(piece)
            cut = {target: column.read(start, stop) for target, column in columns.items()}
            if any(len(entries) != len(piece) for entries in cut.values()):
                raise DataError(f"{source}: obs has fewer rows than {place}; the file is damaged")
            batch = as_batch(piece, start, cut, source, {"matrix": place, **of_ids})
            check_batch(batch, None, source, start + 1)
            start = stop
            yield batch
        if any(column.shape[0] != start for column in columns.values()):
            raise DataError(f"{source}: {place} has {start} rows, but obs has more; the file is damaged")


def _matrices(top: Mapping[str, Any], source: str) -> dict[str, Any]:
    """X and what lies in obsm, by their places in the file; an X without columns is none beside the others."""
    matrices = {"X": top["X"]} if "X" in top and _encoding(top["X"]) != "null" else {}
    held = {f"obsm/{name}": item for name, item in (children(top["obsm"], source) if "obsm" in top else ())}
    if held and matrices and 0 in (*getattr(top["X"], "shape", ()), *top["X"].attrs.get("shape", ()))[1:]:
        return held
    return matrices | held


def _matrix_place(matrices: Mapping[str, Any], top: Mapping[str, Any], source: str, choice: ColumnChoice) -> str:
    places = list(matrices)
    if (wanted := choice.features_column) is not None:
        place = next((place for place in places if wanted in (place, place.removeprefix("obsm/"))), None)
        if place is None:
            raise UsageError(f"{source}: --features-column {wanted}: no such matrix; there are {some_names(places)}")
        return place
    if not places:
        raise DataError(f"{source}: neither X nor a matrix in obsm; it holds {some_names(list(top))}")
    if places[0] != "X" and len(places) > 1:
        raise DataError(f"{source}: no X, and several matrices ({some_names(places)}); choose with --features-column")
    return places[0]


@dataclass(frozen=True)
class _Column:
    """A column of obs: how many entries it has, and how some of them are read."""

    shape: tuple[int]
    read: Callable[[int, int], pa.Array]
    dtype: Any = None


def _columns(obs: Any, source: str, choice: ColumnChoice) -> tuple[dict[str, _Column], dict[str, str]]:
    """The columns of obs under the names that FEATURES has for them, and what to say of the ids.

    The ids are its index, or the chosen column.
    """
    if obs is None or "_index" not in obs.attrs:
        raise DataError(f"{source}: no table obs with the names of the observations; is it an H5AD file? If so, {OLD}")
    index = str(obs.attrs["_index"])
    items = dict(children(obs, source))
    order = [index, *(str(name) for name in obs.attrs.get("column-order", ()))]
    columns = {name: _column(items[name], f"{source}: obs column {name!r}") for name in order}
    rows = columns[index].shape[0]

    def texts(name: str) -> Iterator[pa.Array]:
        for start in range(0, columns[name].shape[0], TEXTS_AT_ONCE):
            piece = columns[name].read(start, min(start + TEXTS_AT_ONCE, columns[name].shape[0]))
            yield as_text(pa.chunked_array([piece]), f"{source}: obs column {name!r}")

    chosen = choice if choice.ids is not None else replace(choice, id_column=choice.id_column or index)
    if chosen.id_column != choice.id_column and only_number_rows(index, lambda: texts(index)):
        require_none_passed_over(index, [name for name in order if name != choice.label_column], texts, source)
    names, of_ids = column_names(columns, rows, texts, source, chosen)
    if chosen.id_column == index and only_number_rows(index, lambda: texts(index)):
        of_ids = {IDS_KEY: ROW_NUMBERS}
    return {target: columns[name] for target, name in names.items()}, of_ids


def _column(item: Any, where: str) -> _Column:
    encoding = _encoding(item)
    if encoding in ("array", "string-array"):
        require_filled(item, where)
        return _Column(item.shape, lambda start, stop: column_piece(item, start, stop, where))
    if encoding == "categorical":
        parts = _parts(item, where)
        categories = column_piece(parts["categories"], 0, parts["categories"].shape[0], where)
        codes = parts["codes"]
        return _Column(codes.shape, lambda start, stop: _categories(codes[start:stop], categories, where))
    if encoding.startswith("nullable-"):
        parts = _parts(item, where)
        return _Column(parts["mask"].shape, lambda start, stop: _nullable(parts, start, stop, where))
    raise DataError(f"{where} is written as {encoding!r}, which is not read; remove it; or {OLD}")


def _categories(codes: np.ndarray, categories: pa.Array, where: str) -> pa.Array:
    if len(codes) and not -1 <= codes.min() <= codes.max() < len(categories):
        raise DataError(f"{where}: a category that it does not have; the file is damaged")
    return categories.take(pa.array(codes.astype(np.int64), mask=codes < 0))


def _nullable(parts: Mapping[str, Any], start: int, stop: int, where: str) -> pa.Array:
    values, missing = column_piece(parts["values"], start, stop, where), pa.array(parts["mask"][start:stop])
    return pc.if_else(missing, pa.scalar(None, values.type), values)


def _parts(item: Any, where: str) -> dict[str, Any]:
    """The data sets of which anndata makes one array."""
    parts = dict(children(item, where))
    for name, part in parts.items():
        require_filled(part, f"{where}: {name}")
    return parts


def _encoding(item: Any) -> str:
    return str(item.attrs.get("encoding-type", "unknown"))


def _pieces(item: Any, where: str) -> Iterator[np.ndarray]:
    encoding = _encoding(item)
    if encoding == "array" and is_matrix(item):
        return row_pieces(item, where)
    if encoding in ("csr_matrix", "csc_matrix"):
        return _sparse_pieces(item, encoding == "csc_matrix", where)
    if encoding == "array":
        raise DataError(f"{where} has the shape {item.shape} and type {item.dtype}; expected rows of numbers")
    if encoding == "dataframe":
        raise DataError(f"{where} is a DataFrame; expected a matrix: set adata.obsm[KEY] = adata.obsm[KEY].to_numpy()")
    raise DataError(f"{where} is written as {encoding!r}; expected a dense or sparse matrix of numbers; perhaps {OLD}")


def _sparse_pieces(item: Any, by_column: bool, where: str) -> Iterator[np.ndarray]:
    rows, width = (int(size) for size in item.attrs["shape"])
    require_width(width, where)
    parts = _parts(item, where)
    if by_column:
        parts = _by_row(parts, rows, width, where)
    if len(parts["indptr"]) != rows + 1:
        raise DataError(f"{where}: {len(parts['indptr'])} row pointers for {rows} rows; the file is damaged")
    step = batch_rows(width)
    for start in range(0, rows, step):
        yield _dense(parts, start, min(start + step, rows), width, where)


def _dense(parts: Any, start: int, stop: int, width: int, where: str) -> np.ndarray:
    """Rows `start` to `stop` of a matrix that is stored row by row."""
    ends = parts["indptr"][start : stop + 1].astype(np.int64)
    lengths = np.diff(ends)
    if lengths.min() < 0 or lengths.max() > width or not 0 <= ends[0] <= ends[-1] <= len(parts["data"]):
        raise DataError(f"{where}: rows {start + 1} to {stop}: the row pointers do not fit; the file is damaged")
    columns, values = (parts[name][ends[0] : ends[-1]] for name in ("indices", "data"))
    _require_inside(columns, width, where)
    dense = np.zeros((stop - start, width), values.dtype)
    np.add.at(dense, (np.repeat(np.arange(stop - start), lengths), columns), values)
    return dense


def _by_row(parts: Mapping[str, Any], rows: int, width: int, where: str) -> Mapping[str, np.ndarray]:
    """A matrix that is stored column by column, whole, as one that is stored row by row."""
    held, lengths = parts["indices"][:], np.diff(parts["indptr"][:].astype(np.int64))
    if len(lengths) != width or lengths.min(initial=0) < 0 or lengths.sum() != len(held):
        raise DataError(f"{where}: the column pointers do not fit; the file is damaged")
    _require_inside(held, rows, where)
    order = np.argsort(held, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(held, minlength=rows))])
    return {"indptr": indptr, "indices": np.repeat(np.arange(width), lengths)[order], "data": parts["data"][:][order]}


def _require_inside(positions: np.ndarray, size: int, where: str) -> None:
    if len(positions) and not 0 <= positions.min() <= positions.max() < size:
        raise DataError(f"{where}: an entry outside the matrix; the file is damaged")
