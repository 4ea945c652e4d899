"""Converts Arrow's variants of a type to the plain type, and unifies the schemas of several files.

Polars and DataFusion write views, pandas 2 and 3 write text and missing values differently, and halves of one folder
may come from both. Text is one type however it is stored; whole numbers and numbers with a fraction widen.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.data.layout import INDEX_COLUMNS
from resvae_ray.errors import DataError


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The plain type in which a column is read, without views, dictionaries or other encodings."""
    if isinstance(kind, pa.UuidType):
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.FixedShapeTensorType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if is_list_view(kind):
        return pa.large_list(plain_type(kind.value_type))
    return kind


def plain_array(values: pa.Array) -> pa.Array:
    """The same values in `plain_type`."""
    kind = plain_type(values.type)
    if kind == values.type:
        return values
    if isinstance(values.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in values.to_pylist()], kind)
    if isinstance(values.type, pa.BaseExtensionType):
        return plain_array(values.storage)
    if pa.types.is_run_end_encoded(values.type):
        return plain_array(pc.run_end_decode(values))
    if not is_list_view(values.type):
        return values.cast(kind)
    # Arrow's own cast of these leaves arrays that are not valid.
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, plain_array(values.flatten()), mask=values.is_null())


def is_list_view(kind: pa.DataType) -> bool:
    """Whether it is a list of views, small or large."""
    return pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with each column in `plain_type`."""
    if all(plain_type(field.type) == field.type for field in batch.schema):
        return batch
    return pa.RecordBatch.from_arrays([plain_array(column) for column in batch.columns], names=batch.schema.names)


def one_schema(schemas: Sequence[pa.Schema], files: Sequence[str]) -> pa.Schema:
    """The common schema of all files: that of the first, with types widened where needed.

    An index of pandas without a name that some of the files lack is left out.

    Raises:
        DataError: a file has a column that another one lacks, or of a type that does not fit; both are named.
    """
    first = schemas[0]
    for file, schema in zip(files[1:], schemas[1:], strict=True):
        for lacking, there, names in ((file, files[0], first.names), (files[0], file, schema.names)):
            known = {*schema.names} if lacking == file else {*first.names}
            for name in names:
                if name not in known and name not in INDEX_COLUMNS:
                    raise DataError(f"{lacking}: no column {name!r}, which {there} has")
    kinds = {}
    for name in first.names:
        if all(schema.get_field_index(name) >= 0 for schema in schemas):
            kinds[name] = _one_type(name, schemas, files)
    return pa.schema([pa.field(name, kind) for name, kind in kinds.items()], metadata=first.metadata)


def _one_type(name: str, schemas: Sequence[pa.Schema], files: Sequence[str]) -> pa.DataType:
    kind = plain_type(schemas[0].field(name).type)
    for file, schema in zip(files[1:], schemas[1:], strict=True):
        other = plain_type(schema.field(name).type)
        if other == kind or pa.types.is_null(other) or (_is_list(kind) and _is_list(other)):
            continue
        try:
            pair = [pa.schema([pa.field(name, one)]) for one in (kind, other)]
            kind = pa.unify_schemas(pair, promote_options="permissive").field(name).type
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            raise DataError(f"{file}: column {name!r} holds {other}, but {kind} in {files[0]}") from None
    return pa.string() if pa.types.is_null(kind) else kind


def _is_list(kind: pa.DataType) -> bool:
    """Vectors are read from lists of any kind, and checked one by one."""
    return pa.types.is_nested(kind) or isinstance(kind, pa.FixedShapeTensorType)


def as_column(values: np.ndarray, where: str) -> pa.Array:
    """An array (n) or (n, 1) as a column; bytes are UTF-8 text.

    Raises:
        DataError: it holds neither text nor numbers nor dates.
    """
    values = values.reshape(-1)
    try:
        if values.dtype.kind in "SU":
            return pa.array(np.char.decode(values, "utf-8").tolist() if values.dtype.kind == "S" else values.tolist())
        return pa.array(values.astype(values.dtype.newbyteorder("=")))
    except UnicodeDecodeError:
        raise DataError(f"{where} holds bytes that are not UTF-8 text") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        raise DataError(f"{where} holds {values.dtype}; expected text, numbers or dates") from None
