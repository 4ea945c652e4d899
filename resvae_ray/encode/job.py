"""FEATURES and a MODEL to LATENTS: the job from its start to its end.

The unit of work is an input file, or some row groups of a large one: a task reads it, encodes it and writes one
output file of the same name, which appears when it is whole. So ids stay with their rows, nothing is written twice, and
an interrupted job goes on with the files that are missing.
"""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from resvae_ray import names
from resvae_ray.cluster import ray_session
from resvae_ray.data.features import Features, rows_in
from resvae_ray.data.features_writer import open_writer
from resvae_ray.data.parquet_pieces import SUFFIX, parquet_file
from resvae_ray.encode.latents import Output, kept_model, latents_table
from resvae_ray.encode.units import Unit, units_of
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.model.bundle import read_model_config
from resvae_ray.progress import Progress, silent
from resvae_ray.remote import Place, locate, place
from resvae_ray.seeds import LATENTS, derive
from resvae_ray.storage import read_json, refuse_existing, remove_folder, staged_file, write_json
from resvae_ray.tasks import gpu_share, run_tasks

DONE = "done"  # in _encoding.json: all rows are there
BATCH_BYTES = 16 << 20  # of float32 that go through the network at a time


@dataclass(frozen=True)
class Job:
    """What all tasks have in common.

    Attributes:
        folder: where the output files are written.
    """

    model: Place
    features: Features
    folder: Place
    output: Output


def encode_features(
    model: str | Place,
    features: str | Path,
    latents: str | Path,
    output: Output | None = None,
    *,
    address: str = "",
    progress: Progress = silent,
) -> int:
    """Encodes all rows of FEATURES (or of a DATASET, both sides) and returns their number.

    Args:
        latents: a folder, with a file for each input file; or one file, if it ends in .parquet.
        address: of a running Ray cluster; empty starts a local one.
        progress: told the rows encoded so far.

    Raises:
        DataError: no MODEL, no FEATURES, or features of another width than the model's.
        UsageError: `latents` holds something else.
        JobError: rows are missing at the end.
    """
    source, target = Features.open(features), place(latents)
    config = read_model_config(model)
    if source.dim != config["input_dim"]:
        raise DataError(
            f"{features}: vectors of {source.dim} numbers, but the model {model} takes {config['input_dim']}"
        )
    job, units = Job(place(model), source, target, output or Output()), units_of(source)
    about = _about(job)
    if target.suffix != SUFFIX:
        _encode_folder(job, units, about, address, progress)
        return source.rows
    parts = target.with_name(f".{target.name}.parts")
    if target.exists() or _known(parts) != about:
        # Left by a job that was killed at its very end, or of something else: nobody but us knows of this folder.
        remove_folder(parts)
    refuse_existing(target)
    _encode_folder(replace(job, folder=parts), units, about, address, progress)
    _join(parts, units, target)
    return source.rows


def encode_unit(unit: Unit, job: Job) -> int:
    """Encodes a unit and writes its file; the rows in it."""
    rows, writer, features = 0, None, job.features
    with staged_file(job.folder / unit.output) as staging:
        batches = features.file_batches(unit.file, unit.groups, rows_in(BATCH_BYTES, features.dim))
        for block, batch in enumerate(batches):
            seed = derive(LATENTS, job.output.seed, unit.number, block)
            table = latents_table(kept_model(str(job.model)), batch, job.output, seed)
            writer = writer or open_writer(staging, table.schema, features.provenance)
            writer.write_table(table)
            rows += len(batch)
        if writer is None:
            raise DataError(f"{unit.file}: row groups {list(unit.groups)} hold no rows")
        writer.close()
    return rows


def _about(job: Job) -> dict[str, Any]:
    """What decides the content of LATENTS."""
    source = job.features
    digest = hashlib.blake2b((job.model / names.WEIGHTS_FILE).read_bytes(), digest_size=16).hexdigest()
    infos = source.filesystem.get_file_info(list(source.files))
    files = [
        [file, rows, info.size, info.mtime_ns]
        for file, rows, info in zip(source.files, source.file_rows, infos, strict=True)
    ]
    return {"model": digest, "features": files, "output": asdict(job.output), "rows": source.rows}


def _known(folder: Place) -> dict[str, Any] | None:
    """What the latents in a folder come from; None if it holds none."""
    record = folder / names.ENCODING_FILE
    if not record.exists():
        return None
    known = read_json(record)
    return {key: value for key, value in known.items() if key != DONE} if isinstance(known, dict) else {}


def _encode_folder(job: Job, units: list[Unit], about: dict[str, Any], address: str, progress: Progress) -> None:
    """Makes the folder, or goes on with it where it holds a part of the same job."""
    known = _known(job.folder)
    if known is None:
        refuse_existing(job.folder)
        write_json(job.folder / names.ENCODING_FILE, about)
    elif known != about:
        raise UsageError(f"{job.folder}: holds latents of another model, other features or other options")
    _encode_units(job, units, address, progress)
    _finish(job.folder, about, units)


def _encode_units(job: Job, units: list[Unit], address: str, progress: Progress) -> None:
    missing = [unit for unit in units if not (job.folder / unit.output).exists()]
    total = sum(unit.rows for unit in units)
    done = total - sum(unit.rows for unit in missing)
    progress(done, total)
    if not missing:
        return
    with ray_session(address) as nodes:
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        for rows in run_tasks(encode_unit, missing, gpu_share(1) if gpus else {"num_cpus": 1}, job=job):
            done += rows
            progress(done, total)


def _finish(folder: Place, about: dict[str, Any], units: list[Unit]) -> None:
    """Counts what is on the disk before calling it done."""
    for unit in units:
        path = folder / unit.output
        found = parquet_file(*locate(path)).metadata.num_rows if path.exists() else 0
        if found != unit.rows:
            raise JobError(f"{path}: {found} rows instead of {unit.rows}; run the same command again")
    write_json(folder / names.ENCODING_FILE, {**about, DONE: True})


def _join(folder: Place, units: list[Unit], target: Place) -> None:
    """One file from the files of a folder, which is removed."""
    with staged_file(target) as staging:
        schema = parquet_file(*locate(folder / units[0].output)).schema_arrow
        with pq.ParquetWriter(staging, schema, compression="zstd") as writer:
            for unit in units:
                for piece in parquet_file(*locate(folder / unit.output)).iter_batches():
                    writer.write_batch(piece)
    remove_folder(folder)
