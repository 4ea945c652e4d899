"""LATENTS as CSV or TSV: one column per number (z0, z1, …), then the columns that passed through.

Text is quoted only where it has to be: many readers of TSV (cut, join, ClickHouse, the TensorBoard projector) take
quotes for a part of the id, and pyarrow.csv quotes all text.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

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
    names = [name for field in parts.schema for name in _names_of(field)]
    require_one_name_each(names, target)
    with target.open("w", encoding="utf-8", newline="") as file:
        file.write(delimiter.join(_quoted(pa.array(names), delimiter).to_pylist()) + "\n")
        for batch in parts.batches():
            columns = [
                text
                for field, column in zip(batch.schema, batch.columns, strict=True)
                for text in _texts_of(field, column, delimiter)
            ]
            file.writelines(f"{line}\n" for line in pc.binary_join_element_wise(*columns, delimiter).to_pylist())


def _names_of(field: pa.Field) -> list[str]:
    return [f"{field.name}{n}" for n in range(field.type.list_size)] if is_vector(field.type) else [field.name]


def _texts_of(field: pa.Field, column: pa.Array, delimiter: str) -> list[pa.Array]:
    """The values of each column of the file (n strings); a missing one is empty."""
    if is_vector(field.type):
        kind, matrix = pa.from_numpy_dtype(vector_dtype(field.type)), matrix_of(column)
        numbers = [pa.array(matrix[:, place], kind, from_pandas=True) for place in range(field.type.list_size)]
    elif is_number(field.type):
        numbers = [column]
    else:
        return [_quoted(pa.array(texts(column), pa.string()), delimiter)]
    return [pc.fill_null(values.cast(pa.string()), "") for values in numbers]


def _quoted(values: pa.Array, delimiter: str) -> pa.Array:
    """Texts in quotes if they have the delimiter, a quote or an end of a line, or if they are empty but not missing."""
    inside = pc.binary_join_element_wise('"', pc.replace_substring(values, '"', '""'), '"', "")
    needed = pc.or_(pc.match_substring_regex(values, rf'[{delimiter}"\r\n]|^$'), pc.is_null(values))
    return pc.fill_null(pc.if_else(needed, inside, values), "")
