"""FEATURES written: row groups of a size that a shuffling stream can read one by one, vectors without a dictionary."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resvae_ray.data.features import FILE_BYTES, rows_in
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.names import FEATURES, ID, PROVENANCE_KEY, ROWS_HASH_KEY

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
        self._buffer: list[pa.Table] = []
        self._buffered = 0

    def write(self, batch: FeatureBatch) -> None:
        """Appends rows; full row groups go to the disk."""
        if not len(batch):
            return
        self._buffer.append(batch.table())
        self._buffered += len(batch)
        self.rows += len(batch)
        group = rows_in(ROW_GROUP_BYTES, self.dim)
        if self._buffered >= group:
            table = pa.concat_tables(self._buffer)
            full = self._buffered - self._buffered % group
            for start in range(0, full, group):
                self._write_group(table.slice(start, group))
            self._buffer = [table.slice(full)]
            self._buffered -= full

    def close(self) -> None:
        """Writes what is left and closes the files."""
        if self._buffered:
            self._write_group(pa.concat_tables(self._buffer))
        self._buffer, self._buffered = [], 0
        self._finish_part()

    def __enter__(self) -> "FeaturesWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            self._writer.close()

    def _write_group(self, table: pa.Table) -> None:
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

    def _write_group(self, table: pa.Table) -> None:
        ids, features = self._hashes
        ids.update(("\n".join(table.column(ID).to_pylist()) + "\n").encode())
        for chunk in table.column(FEATURES).chunks:
            features.update(chunk.flatten().to_numpy().data)
        super()._write_group(table)

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
