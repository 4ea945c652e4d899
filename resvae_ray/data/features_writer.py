"""FEATURES written: row groups of a size that a shuffling stream can read one by one, vectors without a dictionary."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resvae_ray.data.features import FILE_BYTES, rows_in
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.data.schema import FeatureBatch, with_vectors
from resvae_ray.names import ID, PROVENANCE_KEY, ROWS_HASH_KEY

ROW_GROUP_BYTES = 4 << 20  # of float32 in a row group: what a shuffling stream reads at a time


def part_name(number: int) -> str:
    """The name of a file of a folder, numbered from 0."""
    return f"part-{number:05d}{SUFFIX}"


def part_rows(dim: int) -> int:
    """Rows in each file of a folder but the last: whole row groups."""
    group = rows_in(ROW_GROUP_BYTES, dim)
    return -(-rows_in(FILE_BYTES, dim) // group) * group


class FeaturesWriter:
    """Writes FEATURES into a folder (part-00000.parquet, …) or one file; use it inside a staged path.

    The bytes follow from the rows alone, not from the batches in which they come.

    Args:
        target: a folder that exists, or a file's path.
        dim: D.
        provenance: what produced the features, for the Parquet metadata.
    """

    def __init__(self, target: Path, dim: int, provenance: dict[str, Any]) -> None:
        self.target, self.dim, self.provenance = target, dim, provenance
        self.rows = 0
        self._single = not target.is_dir()
        self._writer: pq.ParquetWriter | None = None
        self._parts = 0
        self._rows_in_part = 0
        # The row group that is not full yet: its vectors, its other columns, its number of rows.
        self._vectors = np.empty((rows_in(ROW_GROUP_BYTES, dim), dim), np.float32)
        self._beside: list[pa.Table] = []
        self._filled = 0

    def write(self, batch: FeatureBatch, chosen: np.ndarray | None = None) -> None:
        """Appends the rows, or those that are `chosen` (n, bool); full row groups go to the disk."""
        beside, places = batch.beside(), None
        if chosen is not None:
            beside, places = beside.filter(pa.array(chosen)), np.flatnonzero(chosen)
        start = 0
        while start < len(beside):
            stop = min(len(beside), start + len(self._vectors) - self._filled)
            if places is None and stop - start == len(self._vectors):
                self._write_group(beside.slice(start, stop - start), batch.features[start:stop])
            else:
                self._append(beside.slice(start, stop - start), batch.features, start, stop, places)
            start = stop
        self.rows += len(beside)

    def _append(self, beside: pa.Table, features: np.ndarray, start: int, stop: int, places: np.ndarray | None) -> None:
        """Appends rows `start` to `stop` of the features, or of the rows at `places`, to the row group."""
        room = self._vectors[self._filled : self._filled + stop - start]
        if places is None:
            room[:] = features[start:stop]
        else:
            np.take(features, places[start:stop], axis=0, out=room, mode="clip")  # "raise" would copy them once more
        self._beside.append(beside)
        self._filled += stop - start
        if self._filled == len(self._vectors):
            self._write_filled()

    def close(self) -> None:
        """Writes what is left and closes the files."""
        if self._filled:
            self._write_filled()
        self._finish_part()

    def __enter__(self) -> "FeaturesWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            self._writer.close()

    def _write_filled(self) -> None:
        self._write_group(pa.concat_tables(self._beside), self._vectors[: self._filled])
        self._beside, self._filled = [], 0

    def _write_group(self, beside: pa.Table, features: np.ndarray) -> None:
        table = with_vectors(beside, features)
        if self._writer is None:
            path = self.target if self._single else self.target / part_name(self._parts)
            self._writer = open_writer(path, table.schema, self.provenance)
        # Arrow ends pages where the chunks of a column end.
        self._writer.write_table(table.combine_chunks())
        self._rows_in_part += len(table)
        if not self._single and self._rows_in_part == part_rows(self.dim):
            self._finish_part()

    def _finish_part(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._parts += 1
        self._writer, self._rows_in_part = None, 0


class FingerprintedWriter(FeaturesWriter):
    """The same; the metadata of each file hold a hash of its ids and features, from which a DATASET's is made."""

    def __init__(self, target: Path, dim: int, provenance: dict[str, Any]) -> None:
        super().__init__(target, dim, provenance)
        self._hashes = _new_hashes()

    def _write_group(self, beside: pa.Table, features: np.ndarray) -> None:
        of_ids, of_features = self._hashes
        of_ids.update(("\n".join(beside.column(ID).to_pylist()) + "\n").encode())
        of_features.update(np.ascontiguousarray(features))
        super()._write_group(beside, features)

    def _finish_part(self) -> None:
        if self._writer is not None:
            digest = "".join(found.hexdigest() for found in self._hashes)
            self._writer.add_key_value_metadata({ROWS_HASH_KEY.decode(): digest})
        self._hashes = _new_hashes()
        super()._finish_part()


def _new_hashes() -> tuple[Any, Any]:
    return hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)


def open_writer(path: Path, schema: pa.Schema, provenance: dict[str, Any]) -> pq.ParquetWriter:
    """A Parquet writer for vectors: zstd, page checksums, no dictionary for floats, `provenance` in the metadata."""
    schema = schema.with_metadata({PROVENANCE_KEY: json.dumps(provenance).encode()})
    with_dictionary: Any = [
        f.name for f in schema if not (pa.types.is_fixed_size_list(f.type) or pa.types.is_floating(f.type))
    ]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=with_dictionary,
        write_page_checksum=True,
    )
