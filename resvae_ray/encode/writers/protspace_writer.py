"""LATENTS as a bundle for protspace (`.parquetbundle`, version 2): maps of the proteins, and columns as annotations.

A bundle is three Parquet files with a delimiter between them: annotations, the list of projections, and the positions.
The projections are the report's: UMAP of the latents with the same settings, and their first two principal components.
"""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resvae_ray import names
from resvae_ray.encode.encoded_parts import EncodedParts, is_scalar, matrix_of, texts
from resvae_ray.errors import DataError
from resvae_ray.model.latent_map import MIN_DIST, NEIGHBOURS, SEED, pca_map, umap_map

DELIMITER = b"---PARQUET_DELIMITER---"
VERSION = {b"protspace_format_version": b"2"}
PROTEIN = "protein_id"
UMAP_ROWS = 20_000  # of more proteins, the bundle has principal components alone
# Characters that separate or escape values in a cell; protspace percent-encodes them.
ESCAPES = str.maketrans({character: f"%{ord(character):02X}" for character in [*";|%", *map(chr, range(32)), "\x7f"]})


def write_protspace(parts: EncodedParts, target: Path) -> None:
    """Writes the bundle; ids, latents and annotations are held in memory, as in protspace.

    Raises:
        DataError: a text holds the delimiter of the format.
    """
    ids = [str(name) for piece in parts.column(names.ID) for name in texts(piece)]
    z = np.concatenate([matrix_of(piece) for piece in parts.column(names.LATENT)])
    maps = _maps(z)
    tables = [_annotations(parts, ids), _projections(parts, maps), _positions(ids, maps)]
    contents = [_as_parquet(table) for table in tables]
    if any(DELIMITER in content for content in contents):
        raise DataError(f"{target.name}: an id or value holds {DELIMITER.decode()!r}, which protspace reserves")
    target.write_bytes(DELIMITER.join(contents))


def _maps(z: np.ndarray) -> dict[str, tuple[np.ndarray, dict[str, object]]]:
    """Each projection by its name, as protspace names it: positions (n, 2), and how they were made."""
    maps: dict[str, tuple[np.ndarray, dict[str, object]]] = {}
    if NEIGHBOURS < len(z) <= UMAP_ROWS and (places := umap_map(z)) is not None:
        maps["UMAP_2"] = places, {"n_neighbors": NEIGHBOURS, "min_dist": MIN_DIST, "random_state": SEED}
    maps["PCA_2"] = pca_map(z), {"n_components": 2}
    return maps


def _annotations(parts: EncodedParts, ids: list[str]) -> pa.Table:
    """The columns of scalars as texts, without the sequence."""
    columns: dict[str, list[str]] = {PROTEIN: ids}
    for field in parts.schema:
        if is_scalar(field.type) and field.name not in (names.ID, names.SEQUENCE, PROTEIN):
            found = [text for piece in parts.column(field.name) for text in texts(piece)]
            columns[field.name] = [(text or "").translate(ESCAPES) for text in found]
    return pa.table(columns).replace_schema_metadata(VERSION)


def _projections(parts: EncodedParts, maps: dict[str, tuple[np.ndarray, dict[str, object]]]) -> pa.Table:
    return pa.table(
        {
            "projection_name": list(maps),
            "dimensions": [2] * len(maps),
            "info_json": [json.dumps({**how, "weights": parts.weights}) for _, how in maps.values()],
            "source": [f"Res-VAE {parts.model}"] * len(maps),
        }
    )


def _positions(ids: list[str], maps: dict[str, tuple[np.ndarray, dict[str, object]]]) -> pa.Table:
    places = np.concatenate([positions for positions, _ in maps.values()]).astype(np.float32)
    return pa.table(
        {
            "projection_name": [name for name in maps for _ in ids],
            "identifier": ids * len(maps),
            "x": places[:, 0],
            "y": places[:, 1],
            "z": pa.nulls(len(places), pa.float32()),
        }
    )


def _as_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
