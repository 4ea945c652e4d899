"""`import` as a Ray Data job: a task reads the rows of one output file and writes it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.importers import ImportSummary, import_features, import_provenance
from resvae_ray.data.importers.joined_table import TablesBeside
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.files.place import Place, locate, place_to_write, refuse_inside
from resvae_ray.files.unfinished import begin, finish
from resvae_ray.jobs import portions
from resvae_ray.jobs.import_sources import ImportSource, size_of, source_in_pieces
from resvae_ray.jobs.portions import Portion
from resvae_ray.jobs.unique_ids import require_unique_on_ray
from resvae_ray.names import ID, LABEL
from resvae_ray.on_ray.cluster import ray_session
from resvae_ray.on_ray.pieces import make_pieces, missing_pieces, require_rows
from resvae_ray.progress import Progress, silent


@dataclass(frozen=True)
class ImportJob:
    """The settings that all tasks of an import share; `folder` is the FEATURES that are written."""

    source: ImportSource
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
    """As `import_features`, with the same rows; a large source of many files that becomes a folder is a Ray job.

    Of Parquet and of esm-extract's files the job makes the same bytes; of delimited files it makes a file each. It
    makes a file at a time on each core, resumes after any interruption, and holds no more on a node's disk than the
    files that its tasks are writing.

    Args:
        address: of a running Ray cluster: a source of any size is imported on it.
        on_ray: called with the number of output files before a job begins.

    Raises:
        DataError, UsageError: see `import_features`.
        JobError: a file changed meanwhile, or the storage cannot be reached; the same command resumes.
    """
    source, folder, choice = str(source), place_to_write(target), choice or ColumnChoice()
    refuse_inside(folder, source)
    may_be_a_job = not beside and not str(target).endswith(SUFFIX)
    is_wanted = may_be_a_job and (address or size_of(source, choice) >= portions.LARGE_BYTES)
    opened = source_in_pieces(source, choice) if is_wanted else None
    if opened is None:
        return import_features(source, target, choice, beside=beside, describe=describe, progress=progress)
    provenance = import_provenance(opened.found, source, describe)
    command = {"verb": "import", "source": locate(source)[1], "choice": asdict(choice), "describe": describe}
    begin(folder, command, opened.states)
    pieces = opened.portions()
    on_ray(len(pieces))
    with ray_session(address):
        ids = opened.first_checked
        if ids and not opened.numbered and len(missing_pieces(folder, pieces)) == len(pieces):
            require_unique_on_ray(ids)
        make_pieces(import_portion, folder, pieces, address, progress, job=ImportJob(opened, folder, provenance))
        opened.require_unchanged()
        require_rows(folder, [piece for piece in pieces if piece.rows])
        written = _written(folder, pieces, source)
        if not ids:
            require_unique_on_ray(written)
    finish(folder)
    names = () if (layout := opened.layout) is None else (*((LABEL,) if layout.label else ()), *layout.others)
    return ImportSummary(str(folder), written.rows, opened.dim, LABEL in names, names, dict(opened.found))


def _written(folder: Place, pieces: Sequence[Portion], source: str) -> Features:
    """What was written, under the name of its source in messages."""
    filesystem, path = folder.located()
    return Features.of(source, filesystem, [f"{path}/{piece.output}" for piece in pieces], ColumnChoice(id_column=ID))


def import_portion(portion: Portion, job: ImportJob) -> int:
    """Writes the file of a portion and returns its number of rows."""
    with (
        (job.folder / portion.output).staged_file() as staging,
        FeaturesWriter(staging, job.source.dim, job.provenance) as writer,
    ):
        for batch in job.source.rows(portion):
            writer.write(batch)
    return writer.rows
