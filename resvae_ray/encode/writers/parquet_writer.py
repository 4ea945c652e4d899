"""LATENTS as one Parquet file, from the files of the parts."""

from pathlib import Path

import pyarrow.parquet as pq

from resvae_ray.encode.encoded_parts import EncodedParts


def write_parquet(parts: EncodedParts, target: Path) -> None:
    """Writes all columns, with the metadata of the parts."""
    with pq.ParquetWriter(target, parts.schema, compression="zstd") as writer:
        for batch in parts.batches():
            writer.write_batch(batch)
