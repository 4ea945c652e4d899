"""LATENTS as H5AD: the latents in `obsm["X_resvae"]`, and in `uns["resvae"]` which MODEL made them.

If an H5AD file was encoded, LATENTS are a copy of it with these additions. If FEATURES were encoded, LATENTS are a new
file without X, whose `obs` holds the other columns. The format is that of anndata's documentation (0.8 and later),
written directly, so that no matrix has to fit in memory.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from resvae_ray import names
from resvae_ray.encode.encoded_parts import EncodedParts, is_number, is_vector, matrix_of, texts, vector_dtype
from resvae_ray.errors import DataError, first_line

KEY = "X_resvae"  # in obsm; further vectors are X_resvae_logvar and so on
UNS = "resvae"


def write_anndata(parts: EncodedParts, target: Path) -> None:
    """
    Raises:
        DataError: the encoded H5AD file already holds latents, or has another number of observations.
    """
    import h5py

    if parts.anndata is None:
        with h5py.File(target, "w") as file:
            _write_new(file, parts)
            _write_latents(file, parts)
        return
    with parts.anndata.local_copy() as source:
        shutil.copyfile(source, target)
    try:
        with h5py.File(target, "r+") as file:
            _require_room(file, parts)
            _write_latents(file, parts)
            if names.RECON_ERROR in parts.schema.names:
                _add_column(file["obs"], parts, names.RECON_ERROR)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # as h5py raises them for a damaged file
        if isinstance(error, DataError):
            raise
        raise DataError(f"{parts.anndata}: latents cannot be added to it: {first_line(error)}") from None


def _require_room(file: Any, parts: EncodedParts) -> None:
    obs = file["obs"]
    rows = obs[str(obs.attrs["_index"])].shape[0]
    if rows != parts.rows:
        raise DataError(f"{parts.anndata}: {rows} observations, but {parts.rows} were encoded; it has changed since")
    taken = [f"obsm[{key!r}]" for key in file.get("obsm", ()) if key == KEY or key.startswith(f"{KEY}_")]
    taken += [f"uns[{UNS!r}]"] if UNS in file.get("uns", ()) else []
    taken += [f"obs[{names.RECON_ERROR!r}]"] if {names.RECON_ERROR} & set(obs) & set(parts.schema.names) else []
    if taken:
        raise DataError(f"{parts.anndata}: already holds {taken[0]}; remove it there, then encode again")


def _write_latents(file: Any, parts: EncodedParts) -> None:
    obsm = _group(file, "obsm", "dict", "0.1.0")
    for field in parts.schema:
        if field.name == names.LATENT:
            _write_matrix(obsm, KEY, parts, field)
        elif is_vector(field.type):
            _write_matrix(obsm, f"{KEY}_{field.name}", parts, field)
    about = _group(_group(file, "uns", "dict", "0.1.0"), UNS, "dict", "0.1.0")
    for name, value in (("model", parts.model), ("weights", parts.weights)):
        _encoded(about.create_dataset(name, data=value), "string", "0.2.0")


def _write_new(file: Any, parts: EncodedParts) -> None:
    """An AnnData without latents, X and variables."""
    _encoded(file, "anndata", "0.1.0")
    obs, var = (_group(file, name, "dataframe", "0.2.0") for name in ("obs", "var"))
    for table, index in ((obs, names.ID), (var, "_index")):
        table.attrs["_index"] = index
        table.attrs["column-order"] = np.array([], dtype="S1")
    _write_texts(var, "_index", 0, iter(()))
    _write_texts(obs, names.ID, parts.rows, (texts(piece) for piece in parts.column(names.ID)))
    for field in parts.schema:
        if field.name != names.ID and not is_vector(field.type):
            _add_column(obs, parts, field.name)
    for name in ("layers", "varm", "obsp", "varp"):
        _group(file, name, "dict", "0.1.0")


def _add_column(obs: Any, parts: EncodedParts, name: str) -> None:
    if is_number(parts.schema.field(name).type):
        _write_numbers(obs, name, parts)
    else:
        _write_categories(obs, name, parts)
    import h5py

    order = [*obs.attrs["column-order"].tolist(), name]
    obs.attrs["column-order"] = np.array(
        [text.decode() if isinstance(text, bytes) else text for text in order], dtype=h5py.string_dtype()
    )


def _write_categories(obs: Any, name: str, parts: EncodedParts) -> None:
    """Texts as a categorical column, in which one may be missing."""
    codes: dict[str, int] = {}

    def coded() -> Iterator[np.ndarray]:
        for piece in parts.column(name):
            yield np.array([-1 if text is None else codes.setdefault(text, len(codes)) for text in texts(piece)])

    group = _group(obs, name, "categorical", "0.2.0")
    group.attrs["ordered"] = False
    _encoded(_fill(group.create_dataset("codes", (parts.rows,), np.int32), coded()), "array", "0.2.0")
    _write_texts(group, "categories", len(codes), iter([list(codes)] if codes else ()))


def _write_numbers(obs: Any, name: str, parts: EncodedParts) -> None:
    kind = parts.schema.field(name).type
    if pa.types.is_floating(kind) or not any(piece.null_count for piece in parts.column(name)):
        pieces = (piece.to_numpy(zero_copy_only=False) for piece in parts.column(name))
        data_set = obs.create_dataset(name, (parts.rows,), kind.to_pandas_dtype())
        _encoded(_fill(data_set, pieces), "array", "0.2.0")
    else:
        _write_nullable(obs, name, parts, kind)


def _write_nullable(obs: Any, name: str, parts: EncodedParts, kind: pa.DataType) -> None:
    encoding = "nullable-boolean" if pa.types.is_boolean(kind) else "nullable-integer"
    group = _group(obs, name, encoding, "0.1.0")
    nothing = pa.scalar(False if pa.types.is_boolean(kind) else 0, kind)
    by_name: dict[str, tuple[Any, Callable[[pa.Array], pa.Array]]] = {
        "values": (kind.to_pandas_dtype(), lambda piece: piece.fill_null(nothing)),
        "mask": (np.bool_, lambda piece: piece.is_null()),
    }
    for part, (dtype, made) in by_name.items():
        pieces = (made(piece).to_numpy(zero_copy_only=False) for piece in parts.column(name))
        _encoded(_fill(group.create_dataset(part, (parts.rows,), dtype), pieces), "array", "0.2.0")


def _write_matrix(obsm: Any, key: str, parts: EncodedParts, field: pa.Field) -> None:
    shape = (parts.rows, field.type.list_size)
    data_set = obsm.create_dataset(key, shape, vector_dtype(field.type))
    _encoded(_fill(data_set, map(matrix_of, parts.column(field.name))), "array", "0.2.0")


def _write_texts(group: Any, name: str, rows: int, pieces: Iterator[Sequence[str | None]]) -> None:
    import h5py

    data_set = group.create_dataset(name, (rows,), h5py.string_dtype())
    _encoded(
        _fill(data_set, (np.array([text or "" for text in piece], object) for piece in pieces)), "string-array", "0.2.0"
    )


def _fill(data_set: Any, pieces: Iterator[np.ndarray]) -> Any:
    start = 0
    for piece in pieces:
        data_set[start : start + len(piece)] = piece
        start += len(piece)
    return data_set


def _group(parent: Any, name: str, encoding: str, version: str) -> Any:
    return parent[name] if name in parent else _encoded(parent.create_group(name), encoding, version)


def _encoded(item: Any, encoding: str, version: str) -> Any:
    item.attrs["encoding-type"], item.attrs["encoding-version"] = encoding, version
    return item
