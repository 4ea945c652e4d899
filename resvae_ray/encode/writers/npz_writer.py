"""LATENTS as NPZ: an array per column, `z` a matrix (n, Z), texts as fixed-width strings; `numpy.load` runs no code.

The arrays are written one after another into the archive, so that no column has to fit in memory.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from resvae_ray.encode.encoded_parts import EncodedParts, is_number, is_vector, matrix_of, texts, vector_dtype


def write_npz(parts: EncodedParts, target: Path) -> None:
    """Writes every column; a missing text becomes "", a missing number NaN."""
    with zipfile.ZipFile(target, "w") as archive:
        for field in parts.schema:
            is_text = not (is_vector(field.type) or is_number(field.type))
            # Texts are padded to the longest; packed, the padding takes no room.
            member = zipfile.ZipInfo(f"{field.name}.npy")
            member.compress_type = zipfile.ZIP_DEFLATED if is_text else zipfile.ZIP_STORED
            with archive.open(member, "w", force_zip64=True) as file:
                _write_array(file, parts, field)


def _write_array(file: IO[bytes], parts: EncodedParts, field: pa.Field) -> None:
    if is_vector(field.type):
        width = field.type.list_size
        _write_pieces(file, (parts.rows, width), vector_dtype(field.type), map(matrix_of, parts.column(field.name)))
    elif is_number(field.type):
        kind = _number_type(parts, field)
        _write_pieces(file, (parts.rows,), kind, (_numbers(piece, kind) for piece in parts.column(field.name)))
    else:
        longest = max((len(text or "") for piece in parts.column(field.name) for text in texts(piece)), default=0)
        kind = np.dtype(f"<U{max(1, longest)}")
        pieces = (np.array([text or "" for text in texts(piece)], kind) for piece in parts.column(field.name))
        _write_pieces(file, (parts.rows,), kind, pieces)


def _write_pieces(file: IO[bytes], shape: tuple[int, ...], kind: np.dtype, pieces: Iterator[np.ndarray]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in pieces:
        file.write(np.ascontiguousarray(piece, kind).tobytes())


def _number_type(parts: EncodedParts, field: pa.Field) -> np.dtype:
    missing = any(piece.null_count for piece in parts.column(field.name))
    return np.dtype(np.float64 if missing else field.type.to_pandas_dtype())


def _numbers(piece: pa.Array, kind: np.dtype) -> np.ndarray:
    if piece.null_count:
        piece = piece.cast(pa.float64())
    return piece.to_numpy(zero_copy_only=False).astype(kind)
