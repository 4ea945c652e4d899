"""Every format that features come in, one file each; all become FEATURES.

A reader is a function `read(source, choice)` that yields FeatureBatch in the order of the file, in bounded memory,
raising DataError with file, row and column for what is wrong in it. To add a format, write its file and add its line
to READERS.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resvae_ray.data.features import SUFFIX, Features, FeaturesWriter, require_unique_ids
from resvae_ray.data.importers import delimited, numpy_arrays, parquet
from resvae_ray.data.schema import IDS_KEY, ROW_NUMBERS, ColumnChoice, FeatureBatch
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import ID, LABEL
from resvae_ray.progress import Progress, silent
from resvae_ray.storage import local_target, locate, refuse_existing, staged_file, staged_folder

Reader = Callable[[str, ColumnChoice], Iterator[FeatureBatch]]

READERS: dict[str, Reader] = {
    ".parquet": parquet.read,
    ".npz": numpy_arrays.read,
    ".npy": numpy_arrays.read,
    ".csv": delimited.read,
    ".csv.gz": delimited.read,
    ".tsv": delimited.read,
    ".tsv.gz": delimited.read,
}


@dataclass(frozen=True)
class ImportSummary:
    """What an import wrote: `rows` proteins of `dim` numbers, with or without a label."""

    path: str
    rows: int
    dim: int
    label: bool
    columns: tuple[str, ...]


def reader_for(source: str) -> Reader:
    """
    Raises:
        UsageError: no format is known by that ending.
    """
    for ending in sorted(READERS, key=len, reverse=True):
        if source.lower().endswith(ending):
            return READERS[ending]
    filesystem, place = locate(source)
    if filesystem.get_file_info(place).type.name == "Directory" or "*" in source:
        return parquet.read
    raise UsageError(f"{source}: unknown format; the endings read are {', '.join(READERS)}")


def import_features(
    source: str | Path,
    target: str | Path,
    choice: ColumnChoice | None = None,
    *,
    describe: dict[str, str] | None = None,
    progress: Progress = silent,
) -> ImportSummary:
    """Reads features in any known format and writes them as FEATURES, streaming.

    Args:
        source: a file, or for Parquet also a folder or a glob.
        target: one file if it ends in .parquet, else a folder of files.
        choice: which columns are what, where the defaults do not find them.
        describe: what produced the features (model, layer, pooling, …), kept in the Parquet metadata.
        progress: told the rows written so far.

    Raises:
        DataError: the source holds something that is not FEATURES; nothing is written.
        UsageError: an unknown format, a column that is not there, a target that is.
    """
    source, path = str(source), local_target(target)
    refuse_existing(path)
    batches = reader_for(source)(source, choice or ColumnChoice())
    first = next(batches, None)
    if first is None:
        raise DataError(f"{source}: it holds no rows")
    provenance = {"source": Path(source).name, **(describe or {})}
    if first.numbered:
        provenance[IDS_KEY] = ROW_NUMBERS
    with (staged_file if path.suffix == SUFFIX else staged_folder)(path) as staging:
        with FeaturesWriter(staging, first.features.shape[1], provenance) as writer:
            _copy(first, batches, writer, source, progress)
        require_unique_ids(lambda: _written_ids(staging), source)
    names = tuple(first.others.column_names)
    return ImportSummary(str(path), writer.rows, writer.dim, LABEL in names, names)


def _copy(
    first: FeatureBatch,
    batches: Iterator[FeatureBatch],
    writer: FeaturesWriter,
    source: str,
    progress: Progress,
) -> None:
    writer.write(first)
    for batch in batches:
        if batch.features.shape[1] != writer.dim:
            raise DataError(
                f"{source}: row {writer.rows + 1}: a vector of {batch.features.shape[1]} numbers, but {writer.dim} in "
                "the rows before; all vectors must have one width"
            )
        writer.write(batch)
        progress(writer.rows, None)


def _written_ids(path: Path) -> Iterator:
    return Features.open(path, ColumnChoice(id_column=ID)).ids()
