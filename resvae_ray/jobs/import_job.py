"""`import` of Parquet shards as a Ray Data job: a task reads the rows of one output file and writes it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from resvae_ray.data.features_writer import FeaturesWriter, part_name, part_rows
from resvae_ray.data.importers import (
    ImportSummary,
    chosen_reader,
    import_features,
    import_provenance,
    parquet,
)
from resvae_ray.data.importers.joined_table import TablesBeside
from resvae_ray.data.importers.parquet import ParquetSource
from resvae_ray.data.layout import ROWS, ColumnChoice
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.files.place import Place, locate, place_to_write, refuse_inside
from resvae_ray.files.unfinished import begin, finish
from resvae_ray.jobs.portions import Portion, States, is_large, portion_of, rows_of, states_of
from resvae_ray.jobs.unique_ids import require_unique_on_ray
from resvae_ray.names import LABEL
from resvae_ray.on_ray.cluster import ray_session
from resvae_ray.on_ray.pieces import make_pieces, missing_pieces, require_rows
from resvae_ray.progress import Progress, silent


@dataclass(frozen=True)
class ImportJob:
    """The settings that all tasks of an import share.

    Attributes:
        states: of the files when their rows were counted.
        folder: the FEATURES that are written.
    """

    source: ParquetSource
    states: States
    folder: Place
    provenance: dict[str, str]


def import_shards(
    source: str | Path,
    target: str | Path,
    choice: ColumnChoice | None = None,
    *,
    beside: TablesBeside | None = None,
    describe: dict[str, str] | None = None,
    address: str = "",
    progress: Progress = silent,
    on_ray: Callable[[int], None] = lambda files: None,
) -> ImportSummary:
    """As `import_features`, with the same bytes; large Parquet that becomes a folder is imported as a Ray job.

    The job makes a file at a time on each core, resumes after any interruption, and holds no more on a node's disk
    than the files that its tasks are writing.

    Args:
        address: of a running Ray cluster: Parquet of any size is imported on it.
        on_ray: called with the number of output files before a job begins.

    Raises:
        DataError, UsageError: see `import_features`.
        JobError: a file changed meanwhile, or the storage cannot be reached; the same command resumes.
    """
    source, folder, choice = str(source), place_to_write(target), choice or ColumnChoice()
    if beside or not _may_be_a_job(source, target, choice) or not (address or is_large(source)):
        return import_features(source, target, choice, beside=beside, describe=describe, progress=progress)
    refuse_inside(folder, source)
    opened = ParquetSource.open(source, choice)
    features = opened.features
    states = states_of(features, features.files)
    provenance = import_provenance(opened.found, source, describe)
    command = {"verb": "import", "source": locate(source)[1], "choice": asdict(choice), "describe": describe}
    begin(folder, command, states)
    pieces = _portions(opened)
    on_ray(len(pieces))
    with ray_session(address):
        if features.layout.id is not None and len(missing_pieces(folder, pieces)) == len(pieces):
            require_unique_on_ray(features)
        job = ImportJob(opened, states, folder, provenance)
        make_pieces(import_portion, folder, pieces, address, progress, job=job)
    require_rows(folder, pieces)
    finish(folder)
    label = (LABEL,) if features.layout.label else ()
    names = (*label, *features.layout.others)
    return ImportSummary(str(folder), features.rows, features.dim, LABEL in names, names, dict(opened.found))


def _may_be_a_job(source: str, target: str | Path, choice: ColumnChoice) -> bool:
    """Ids out of a file come one after another, and one file is written by one process."""
    one_by_one = choice.ids not in (None, ROWS) or str(target).endswith(SUFFIX)
    return not one_by_one and chosen_reader(source, choice) is parquet.read


def _portions(source: ParquetSource) -> list[Portion]:
    features, size = source.features, part_rows(source.features.dim)
    starts = range(0, features.rows, size)
    stops = [min(start + size, features.rows) for start in starts]
    return [
        portion_of(features, part_name(number), stop - start, start, stop)
        for number, (start, stop) in enumerate(zip(starts, stops, strict=True))
    ]


def import_portion(portion: Portion, job: ImportJob) -> int:
    """Writes the file of a portion and returns its number of rows."""
    features = job.source.features
    rows = rows_of(portion, features, job.states)
    with (
        (job.folder / portion.output).staged_file() as staging,
        FeaturesWriter(staging, features.dim, job.provenance) as writer,
    ):
        for batch in job.source.as_imported(rows, portion.start):
            writer.write(batch)
    return writer.rows
