"""Proteins to FEATURES, as a Ray Data job that resumes where it stopped.

Everything is done in a hidden folder beside FEATURES (see work.py). Its unit of work is a part, whose vectors appear
when they are whole; the same command computes the missing parts; a different one is refused. When all are there,
FEATURES are written: file by file on Ray for a folder in a bucket or on a cluster, else by this process.
"""

import hashlib
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from resvae_ray import names
from resvae_ray._version import __version__
from resvae_ray.data.file_kind import is_gzip
from resvae_ray.data.layout import ROWS
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.data.proteins import ProteinChoice
from resvae_ray.embed.model_files import ModelFiles
from resvae_ray.embed.settings import ALL, AUTO, NUM_SEGMENTS, PHO, SEGMENTS, Embedding, PooledLayer
from resvae_ray.embed.work import Part, Work, features_files, prepare, write_features, write_file
from resvae_ray.embed.workers import Workers, best_precision, embed_part, in_turn, shares
from resvae_ray.errors import DataError, JobError, ResVAERayError, UsageError
from resvae_ray.files.atomic import read_json
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import Place, place_to_write, refuse_inside
from resvae_ray.files.unfinished import begin, finish, require_own
from resvae_ray.on_ray.cluster import ray_session
from resvae_ray.on_ray.pieces import make_pieces, require_rows
from resvae_ray.on_ray.tasks import run_tasks
from resvae_ray.progress import Progress, silent

READ_BYTES = 16 << 20
PART_OPERATIONS = 3e14  # multiplications and additions of a part: seconds on a GPU, minutes on cores
COUNTS = ("widths", "rows", "cut", "siteless", "sites_cut", "sites_forms")  # of Work, kept to resume it
OPTIONS = {"model": "model or layer"}  # of what a record calls otherwise
PART_RESIDUES = (1 << 14, 1 << 18)  # at least and at most, whatever the model


@dataclass(frozen=True)
class EmbedSummary:
    """The result of `embed`: `rows` proteins, the width of each FEATURES by its name, and how many sequences were cut.

    `model` says the family of the model and the license of its weights. `siteless` proteins got zeros; `sites_cut`
    sites were beyond what was read of a truncated protein; `sites_forms` counts the proteins by the form in which the
    table of sites names them.
    """

    path: str
    rows: int
    widths: dict[str, int]
    cut: int
    siteless: int
    sites_cut: int
    precision: str
    model: str
    sites_forms: dict[str, int] = field(default_factory=dict)


def embed_proteins(
    proteins: str | Path,
    features: str | Path,
    settings: Embedding | None = None,
    *,
    columns: ProteinChoice | None = None,
    sites: str | Path | None = None,
    workers: Workers | None = None,
    progress: Progress = silent,
) -> EmbedSummary:
    """Embeds all proteins of a FASTA file or a table, in their order, and writes them as FEATURES.

    Args:
        features: one file if it ends in .parquet, else a folder; with pooling `all` or several layers a folder with one
            FEATURES per pooling and layer.
        columns: of a table, where the defaults do not find them.
        sites: a table of ids and positions from 1, for the pooling `pho`.
        progress: called with the number of proteins embedded so far.

    Raises:
        UsageError: settings that cannot be meant, a target that is there already or was begun with something else.
        DataError: proteins, sites or a model that cannot be read.
        JobError: the hub or a bucket cannot be reached, a batch is too large for the GPU, Ray gave up.
    """
    settings, workers, target = settings or Embedding(), workers or Workers(), place_to_write(features)
    _check(settings, target, sites)
    refuse_inside(target, proteins)
    folder = target.with_name(f".{target.name}.embedding")
    as_job = target.suffix != SUFFIX and (target.local is None or bool(workers.address))
    if not as_job:
        target.refuse_existing()
    model = ModelFiles.find(settings.model)
    outputs = model.outputs(settings)
    about = _about(str(proteins), settings, columns or ProteinChoice(), sites, model)
    if as_job:
        require_own(target, _command(about))
    work = _resume(folder, about, settings) or _begin(
        folder, about, str(proteins), settings, columns, sites, model, outputs
    )
    with ray_session(workers.address) if as_job else nullcontext():
        try:
            settings = _embed(work, settings, model, workers, progress)
        except ResVAERayError:
            with suppress(JobError):  # of a bucket that fails
                if len(work.missing()) == len(work.parts):
                    folder.remove_folder()
            raise
        provenance = {output.name: _provenance(output, work, settings, about) for output in outputs}
        if as_job:
            begin(target, _command(about), {"precision": settings.precision})
            files = features_files(work)
            make_pieces(
                write_file, target, files, workers.address, silent, work=work, target=target, provenance=provenance
            )
            require_rows(target, files)
            finish(target)
        else:
            write_features(work, target, provenance)
    folder.remove_folder()
    return EmbedSummary(
        str(target),
        work.rows,
        work.widths,
        work.cut,
        work.siteless,
        work.sites_cut,
        settings.precision,
        f"{model.family.name}, license {model.family.license}",
        work.sites_forms,
    )


def _command(about: dict[str, Any]) -> dict[str, Any]:
    return {"verb": "embed", **about}


def _check(settings: Embedding, target: Place, sites: str | Path | None) -> None:
    several = "--pooling all" if settings.pooling == ALL else "--layer, given several times,"
    if (settings.pooling == ALL or len(settings.layers) > 1) and target.suffix == SUFFIX:
        raise UsageError(f"{target}: {several} writes a folder with several FEATURES; give a name without .parquet")
    if (settings.pooling == PHO) != (sites is not None):
        raise UsageError(
            "--pooling pho takes the positions from --sites TABLE, and no other pooling does; give both or none"
        )


def _file_digest(path: str | Path) -> str:
    """A digest of the bytes of a file, unpacked, or of all files of a folder or glob.

    Raises:
        DataError: no such file, or it cannot be read.
    """
    whole = hashlib.blake2b(digest_size=16)
    filesystem, files = list_files(path, SUFFIX)
    for file in files:
        try:
            with filesystem.open_input_stream(file, compression="gzip" if is_gzip(filesystem, file) else None) as raw:
                while block := raw.read(READ_BYTES):
                    whole.update(block)
        except OSError as error:
            raise DataError(f"{file}: cannot be read, or damaged: {error}") from None
    return whole.hexdigest()


def _about(
    proteins: str, settings: Embedding, columns: ProteinChoice, sites: str | Path | None, model: ModelFiles
) -> dict[str, Any]:
    """All options that decide the content of FEATURES, except the precision."""
    outputs = model.outputs(settings)
    layers = list(dict.fromkeys(output.layer for output in outputs))
    layer = layers[0] if len(layers) == 1 else layers
    return {
        "proteins": {"name": Path(proteins).name, "digest": _file_digest(proteins)},
        "columns": asdict(columns),
        "ids": None if columns.ids in (None, ROWS) else _file_digest(str(columns.ids)),
        "sites": _file_digest(sites) if sites else None,
        "model": {"name": model.name, "layer": layer, "dim": model.dim, "digest": model.digest()},
        "pooling": settings.pooling or outputs[0].pooling,
        "max_length": settings.max_length,
        "long": settings.long,
        "batch_tokens": settings.batch_tokens,
        "version": __version__,
    }


def _begin(
    folder: Place,
    about: dict[str, Any],
    proteins: str,
    settings: Embedding,
    columns: ProteinChoice | None,
    sites: str | Path | None,
    model: ModelFiles,
    outputs: tuple[PooledLayer, ...],
) -> Work:
    """Recreates the folder; a folder without a record was interrupted during creation."""
    folder.remove_folder()
    # Here and not above: torch is slow to load, and errors in the options should not wait for it.
    from resvae_ray.embed.pooling import width

    widths = {output.name: width(output.pooling, model.dim) for output in outputs}
    residues = int(np.clip(PART_OPERATIONS / (2 * model.parameters), *PART_RESIDUES))
    try:
        work = prepare(
            folder, proteins, columns or ProteinChoice(), str(sites) if sites else None, settings, widths, residues
        )
        _record(work, about, None if settings.precision == AUTO else settings.precision)
    except BaseException:
        with suppress(JobError):
            folder.remove_folder()
        raise
    return work


def _record(work: Work, about: dict[str, Any], precision: str | None) -> None:
    parts = [[part.block, part.start, part.stop] for part in work.parts]
    counts = {name: getattr(work, name) for name in COUNTS}
    record = work.folder / names.EMBEDDING_FILE
    record.write_json({"about": about, "precision": precision, **counts, "parts": parts})


def _resume(folder: Place, about: dict[str, Any], settings: Embedding) -> Work | None:
    """The work to resume, if it was started with the same options."""
    record = folder / names.EMBEDDING_FILE
    if not record.is_file():
        return None
    known = read_json(record)
    wanted = about if settings.precision == AUTO else {**about, "precision": settings.precision}
    begun = {**known["about"], "precision": known["precision"]}
    if other := [OPTIONS.get(key, key) for key, value in wanted.items() if begun.get(key) != value]:
        raise UsageError(
            f"{folder}: started with other {' and '.join(other)}; rerun the original command to resume, or "
            "remove the folder to start again"
        )
    parts = tuple(Part(number, *bounds) for number, bounds in enumerate(known["parts"]))
    return Work(folder, parts, **{name: known[name] for name in COUNTS})


def _embed(work: Work, settings: Embedding, model: ModelFiles, workers: Workers, progress: Progress) -> Embedding:
    """Embeds the parts that are missing; the settings with the precision that was chosen."""
    missing = work.missing()
    done = work.rows - sum(part.stop - part.start for part in missing)
    progress(done, work.rows)
    record = read_json(work.folder / names.EMBEDDING_FILE)
    if not missing and record["precision"]:
        return replace(settings, precision=record["precision"])
    with ray_session(workers.address) as nodes:
        share, count, threads = shares(nodes, workers, len(missing))
        precision = record["precision"] or best_precision(share)
        _record(work, record["about"], precision)
        resolved = replace(settings, precision=precision)
        place = resolved if model.is_hub else replace(resolved, model=str(model.folder))
        about = {"folder": work.folder, "settings": place, "gpu": "num_gpus" in share, "threads": threads}
        for rows in run_tasks(embed_part, in_turn(missing), share, count, **about):
            done += rows
            progress(done, work.rows)
    return resolved


def _provenance(output: PooledLayer, work: Work, settings: Embedding, about: dict[str, Any]) -> dict[str, Any]:
    """The metadata of FEATURES."""
    model = about["model"]
    known = {
        "source": about["proteins"]["name"],
        "model": model["name"],
        "model_digest": model["digest"],
        "layer": output.layer,
        "pooling": output.pooling,
        "max_length": settings.max_length,
        "long": settings.long,
        "cut": work.cut,
        "dtype": settings.precision,
    }
    if output.pooling == SEGMENTS:
        known["layout"] = f"{NUM_SEGMENTS} segments of {model['dim']} numbers, one after the other"
    if output.pooling == PHO:
        known |= {"siteless": work.siteless, "sites_cut": work.sites_cut}
    return known
