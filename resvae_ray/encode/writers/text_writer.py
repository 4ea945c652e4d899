"""LATENTS as CSV or TSV: one column per number (z0, z1, …), then the columns that passed through."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc

from resvae_ray.encode.encoded_parts import (
    EncodedParts,
    is_number,
    is_vector,
    matrix_of,
    require_one_name_each,
    texts,
    vector_dtype,
)


def write_csv(parts: EncodedParts, target: Path) -> None:
    """Writes commas between the values."""
    _write(parts, target, ",")


def write_tsv(parts: EncodedParts, target: Path) -> None:
    """Writes tabs between the values."""
    _write(parts, target, "\t")


def _write(parts: EncodedParts, target: Path, delimiter: str) -> None:
    schema = pa.schema([column for field in parts.schema for column in _columns_of(field)])
    require_one_name_each(schema.names, target)
    options = pc.WriteOptions(delimiter=delimiter)
    with pc.CSVWriter(target, schema, write_options=options) as writer:
        for batch in parts.batches():
            arrays = [
                array
                for field, column in zip(batch.schema, batch.columns, strict=True)
                for array in _arrays_of(field, column)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _columns_of(field: pa.Field) -> list[pa.Field]:
    if is_vector(field.type):
        kind = pa.from_numpy_dtype(vector_dtype(field.type))
        return [pa.field(f"{field.name}{number}", kind) for number in range(field.type.list_size)]
    return [pa.field(field.name, field.type if is_number(field.type) else pa.string())]


def _arrays_of(field: pa.Field, column: pa.Array) -> list[pa.Array]:
    if is_vector(field.type):
        kind = pa.from_numpy_dtype(vector_dtype(field.type))
        matrix = matrix_of(column)
        return [pa.array(matrix[:, place], kind, from_pandas=True) for place in range(field.type.list_size)]
    return [column if is_number(field.type) else pa.array(texts(column), pa.string())]
