"""Converts columns of vectors, in any encoding, to plain lists of numbers.

Read are lists of any kind, tensors, `[[…]]` (a (1, D) array per protein), Spark's vectors, and text such as
`[0.1, 0.2]`, `[0.1;0.2]`, NumPy's `[0.1 0.2]` and PyTorch's `tensor([0.1, 0.2])`. A vector per residue is named.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.data.arrow_types import is_list_view, plain_array
from resvae_ray.data.layout import FEATURES_COLUMNS, ID_COLUMNS, LABEL_COLUMNS, ColumnChoice, find_column
from resvae_ray.errors import DataError

PER_RESIDUE = "a vector per residue; FEATURES need one per protein: average the residues, or take a reduced file"
SPARK = {"type", "size", "indices", "values"}  # the fields of Spark's VectorUDT
DENSE = 1  # its type of a vector with all values
FIRST_NUMBER = re.compile(
    r"\s*(?:tensor|array|np\.array)?\s*[\[({]+\s*(?:np\.float\d+\()?[-+]?(?:\d|\.\d|nan|inf)", re.IGNORECASE
)
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
BARE_NUMBERS = re.compile(rf"\s*{NUMBER}(?:(?:\s*[,;|]\s*|\s+){NUMBER})+\s*")  # of a column with a usual name
MANY = 8  # numbers, from which on they are a vector in a column of any name
AROUND = r"^\s*(?:np\.array|tensor|array|DenseVector)\(|,\s*(?:dtype|device|requires_grad|grad_fn|shape)=[\s\S]*$"
NEXT_ROW = r"\]\s*[,;]?\s*\["  # between two rows of numbers


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of the type holds one vector of numbers per row, or lists that may be one."""
    if isinstance(kind, pa.FixedShapeTensorType):
        kind = kind.storage_type
    if pa.types.is_struct(kind):
        return {field.name for field in kind} == SPARK
    while _is_list(kind):
        kind = kind.value_type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            return True
    return False


def is_whole(kind: pa.DataType) -> bool:
    """Whether a column of the type holds lists of whole numbers."""
    if isinstance(kind, pa.FixedShapeTensorType):
        kind = kind.storage_type
    while _is_list(kind):
        kind = kind.value_type
    return pa.types.is_integer(kind)


def vector_columns(schema: pa.Schema) -> list[str]:
    """The columns of a table that hold vectors."""
    return [field.name for field in schema if is_vector(field.type)]


def text_vectors(names: Sequence[str], first: Callable[[str], str | None], choice: ColumnChoice) -> list[str]:
    """The columns of text that hold vectors: the chosen one, the one with a usual name, or all whose text looks so.

    Numbered columns go before text with an unusual name.

    Args:
        names: of the columns of text.
        first: the first text in a column.
    """
    if choice.prefix is not None:
        return []
    if choice.features_column is not None:
        return [name for name in names if name == choice.features_column]
    known = {choice.id_column, choice.label_column, find_column(names, ID_COLUMNS), find_column(names, LABEL_COLUMNS)}
    firsts = {name: first(name) or "" for name in names if name not in known}
    bare = [name for name, text in firsts.items() if BARE_NUMBERS.fullmatch(text)]
    candidates = [name for name, text in firsts.items() if name in bare or FIRST_NUMBER.match(text)]
    if (usual := find_column(candidates, FEATURES_COLUMNS)) is not None:
        return [usual]
    return [name for name in candidates if name not in bare or len(re.split(r"[\s,;|]+", firsts[name])) >= MANY]


def as_lists(column: pa.Array, name: str, where: str, first_row: int) -> pa.Array:
    """A column of vectors as one list of numbers per row.

    Args:
        first_row: the number of the first row in messages.

    Raises:
        DataError: a vector per residue, text without numbers or that was cut; the row is named.
    """
    place = _Place(name, where, first_row)
    if isinstance(column.type, pa.FixedShapeTensorType):
        if sum(size != 1 for size in column.type.shape) > 1:
            raise place.error(0, f"{' x '.join(map(str, column.type.shape))} numbers, {PER_RESIDUE}")
        return column.storage
    column = plain_array(column)
    if pa.types.is_struct(column.type):
        return _from_spark(column)
    if pa.types.is_string(column.type):
        return _from_text(column, place)
    while _is_list(column.type) and _is_list(column.type.value_type):
        lengths = pc.list_value_length(column)
        if (row := pc.index(pc.not_equal(lengths, 1), True).as_py()) >= 0:
            raise place.error(row, f"{lengths[row].as_py()} vectors, {PER_RESIDUE}")
        missing = column.is_null()
        column = plain_array(column.flatten())
        if pc.any(missing).as_py():
            raise place.error(pc.index(missing, True).as_py(), "the vector is missing")
    return column


class _Place:
    """The location of a column, for messages."""

    def __init__(self, name: str, where: str, first_row: int) -> None:
        self.name, self.where, self.first_row = name, where, first_row

    def error(self, row: int, what: str) -> DataError:
        return DataError(f"{self.where}: row {self.first_row + row}, column {self.name}: {what}")


def _is_list(kind: pa.DataType) -> bool:
    plain = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return plain or is_list_view(kind)


def _from_spark(column: pa.Array) -> pa.Array:
    """Dense vectors as they are, sparse ones with their zeros."""
    values = pc.struct_field(column, "values")
    if pc.all(pc.equal(pc.struct_field(column, "type"), DENSE)).as_py() in (True, None):
        return values
    rows = []
    for entry in column.to_pylist():
        if entry is None or entry["type"] == DENSE:
            rows.append(entry and entry["values"])
            continue
        vector = np.zeros(entry["size"])
        vector[entry["indices"]] = entry["values"]
        rows.append(vector)
    return pa.array(rows, pa.list_(pa.float64()))


def _from_text(texts: pa.Array, place: _Place) -> pa.Array:
    texts = pc.if_else(pc.equal(pc.utf8_trim_whitespace(texts), ""), pa.scalar(None, pa.string()), texts)
    for pattern, what in (
        (r"\.\.\.", "the text leaves numbers out ('...'), as NumPy prints long arrays; write all of them"),
        (NEXT_ROW, PER_RESIDUE),
    ):
        if (row := pc.index(pc.match_substring_regex(texts, pattern), True).as_py()) >= 0:
            raise place.error(row, what)
    bare = pc.replace_substring_regex(texts, r"np\.float\d+\(([^)]*)\)", r"\1")  # of NumPy 2
    bare = pc.replace_substring_regex(bare, AROUND, "")
    closed = pc.match_substring_regex(bare, r"[\]}]\)?\s*$")
    cut = pc.and_(pc.match_substring_regex(bare, r"^\s*[\[{]"), pc.invert(closed))
    if (row := pc.index(pc.fill_null(cut, False), True).as_py()) >= 0:
        raise place.error(row, f"the text ends after {len(texts[row].as_py()):,} characters, within the vector")
    bare = pc.replace_substring_regex(bare, r"[\[\](){}]", " ")
    words = pc.split_pattern(pc.utf8_trim_whitespace(pc.replace_substring_regex(bare, r"[\s,;|]+", " ")), " ")
    try:
        numbers = words.flatten().cast(pa.float64())
    except pa.ArrowInvalid:
        raise _no_number(words, place) from None
    lengths = pc.fill_null(pc.list_value_length(words), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, numbers, mask=words.is_null())


def _no_number(words: pa.Array, place: _Place) -> DataError:
    for row, entry in enumerate(words.to_pylist()):
        for word in entry or ():
            try:
                float(word)
            except ValueError:
                return place.error(row, f"{word[:20]!r} is not a number; expected a vector such as [0.1, 0.2]")
    return place.error(0, "not a vector such as [0.1, 0.2]")
