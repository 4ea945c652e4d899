"""Parquet, a file, folder or glob: a column of vectors (list, fixed-size list, tensor), or a column a feature."""

from collections.abc import Iterator

from resvae_ray.data.features import Features
from resvae_ray.data.schema import ColumnChoice, FeatureBatch


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The rows of Parquet files, in order; see `Features.batches` for what is refused."""
    yield from Features.open(source, choice).batches()
