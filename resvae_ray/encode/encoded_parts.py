"""The finished parts of an encoding job, from which LATENTS of one file are written, in the order of the input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from resvae_ray import names
from resvae_ray.data.parquet_pieces import parquet_file
from resvae_ray.errors import DataError
from resvae_ray.files.place import Place

FURTHER_VECTORS = (names.AXES, names.LOGVAR, names.DECODED)  # columns of vectors that LATENTS may have besides z


@dataclass(frozen=True)
class EncodedParts:
    """Some Parquet files with LATENTS.

    Attributes:
        files: at least one, in the order of the input.
        rows: in all of them.
        model: path of the MODEL.
        weights: hash of its weights.
        anndata: the H5AD file that was encoded; None for FEATURES.
    """

    files: Sequence[Place]
    rows: int
    model: str
    weights: str
    anndata: Place | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns of all files: id, z, further vectors if asked for, then those that passed through."""
        return parquet_file(*self.files[0].located()).schema_arrow

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows in order, in pieces; `columns` selects some, by default all."""
        for file in self.files:
            for batch in parquet_file(*file.located()).iter_batches(columns=None if columns is None else list(columns)):
                # Parts of version 0.1.0 do not say that no value is missing.
                yield batch.cast(pa.schema(map(self.schema.field, batch.schema.names), self.schema.metadata))

    def column(self, name: str) -> Iterator[pa.Array]:
        """The values of a column in order, in pieces."""
        for batch in self.batches([name]):
            yield batch.column(0)


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column holds vectors of one width."""
    return pa.types.is_fixed_size_list(kind) and is_number(kind.value_type)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column holds numbers, truth values included."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def is_scalar(kind: pa.DataType) -> bool:
    """Whether a column holds numbers, text, or values with a usual text form, such as dates."""
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def matrix_of(vectors: pa.Array) -> np.ndarray:
    """A column of vectors as a matrix (n, width); a missing vector becomes NaN."""
    kind = vectors.type
    matrix = np.full((len(vectors), kind.list_size), np.nan, vector_dtype(kind))
    matrix[~vectors.is_null().to_numpy(zero_copy_only=False)] = (
        vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size)
    )
    return matrix


def vector_dtype(kind: pa.DataType) -> np.dtype:
    """The type of `matrix_of` for a column of vectors: that of its numbers, or float64 if they have no NaN."""
    numbers = kind.value_type
    return np.dtype(numbers.to_pandas_dtype() if pa.types.is_floating(numbers) else np.float64)


def texts(values: pa.Array) -> list[str | None]:
    """A column of scalars as texts; None for a missing value."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    return (values if pa.types.is_string(kind) else values.cast(pa.string())).to_pylist()


def refuse_unfit(schema: pa.Schema, passed_on: Sequence[str], target: object, ending: str) -> None:
    """
    Args:
        passed_on: the columns of FEATURES that follow into LATENTS.

    Raises:
        DataError: one of them holds neither scalars nor vectors of one width, or has a name that cannot be.
    """
    for name in passed_on:
        kind = schema.field(name).type
        if ending == ".h5ad" and "/" in name:
            raise DataError(f"{target}: column {name!r} of the features: names in {ending} have no '/'; rename it")
        if not (is_scalar(kind) or is_vector(kind)):
            raise DataError(
                f"{target}: column {name!r} of the features holds {kind}, which a {ending} file cannot hold; "
                "choose LATENTS that end in .parquet, or remove the column"
            )


def require_one_name_each(columns: Sequence[str], target: Path) -> None:
    """
    Raises:
        DataError: two columns of the file would have one name.
    """
    if twice := [name for position, name in enumerate(columns) if name in columns[:position]]:
        raise DataError(
            f"{target.name}: the features have a column {twice[0]!r}, which the latents need for themselves; rename it"
        )
