"""FEATURES and a MODEL to LATENTS, as a Ray Data job.

The unit of work is an input file, or some row groups of a large one: a task reads it, encodes it and writes one
output file of the same name, which appears when it is whole. So ids stay with their rows, nothing is written twice, and
an interrupted job goes on with the files that are missing.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from resvae_ray import errors, names
from resvae_ray.cluster import ray_session
from resvae_ray.data.features import FILE_BYTES, SUFFIX, Features, open_writer, parquet_file, rows_in
from resvae_ray.data.schema import FeatureBatch, vectors
from resvae_ray.errors import DataError, JobError, UsageError, first_line, in_words
from resvae_ray.model.bundle import read_model_config
from resvae_ray.progress import Progress, silent
from resvae_ray.seeds import LATENTS, derive
from resvae_ray.storage import local_target, locate, read_json, refuse_existing, staged_file, write_json

DONE = "done"  # in _encoding.json: all rows are there
BATCH_BYTES = 16 << 20  # of float32 that go through the network at a time


@dataclass(frozen=True)
class Unit:
    """Some row groups of an input file, and the output file that they become."""

    number: int
    file: str
    groups: tuple[int, ...]
    rows: int
    output: str


@dataclass(frozen=True)
class Output:
    """What LATENTS hold beside the ids and the columns that pass through.

    Attributes:
        sample: draw `z` from the posterior instead of taking its mean.
        seed: of the draws.
        logvar: also write the logarithm of the posterior variance.
        recon_error: also write the squared error of each protein's reconstruction from `z`.
    """

    sample: bool = False
    seed: int = 0
    logvar: bool = False
    recon_error: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: it must be 0 or above")


def encode_features(
    model: str | Path,
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
    source, target, output = Features.open(features), local_target(latents), output or Output()
    config = read_model_config(model)
    if source.dim != config["input_dim"]:
        raise DataError(
            f"{features}: vectors of {source.dim} numbers, but the model {model} takes {config['input_dim']}"
        )
    units, about = _units(source), _about(local_target(model), source, output)
    if target.suffix != SUFFIX:
        _encode_folder(target, units, about, source, local_target(model), output, address, progress)
        return source.rows
    parts = target.with_name(f".{target.name}.parts")
    if target.exists() or _known(parts) != about:
        # Left by a job that was killed at its very end, or of something else: nobody but us knows of this folder.
        shutil.rmtree(parts, ignore_errors=True)
    refuse_existing(target)
    _encode_folder(parts, units, about, source, local_target(model), output, address, progress)
    _join(parts, units, target)
    return source.rows


def encode_unit(
    batch: dict[str, np.ndarray], features: Features, model: str, folder: str, output: Output
) -> dict[str, Any]:
    """The Ray Data task: encodes the one unit in `batch`; an error travels as text, which Ray would lose."""
    number, file, name = (batch[key][0] for key in ("number", "file", "output"))
    groups = [int(group) for group in batch["groups"][0]]
    try:
        rows = _write_unit(features, model, Path(folder) / str(name), output, int(number), str(file), groups)
    except Exception as caught:
        kind, text = in_words(caught)
        return {"rows": [0], "kind": [kind], "error": [text]}
    return {"rows": [rows], "kind": [""], "error": [""]}


def _write_unit(
    features: Features, model: str, target: Path, output: Output, number: int, file: str, groups: list[int]
) -> int:
    rows, writer = 0, None
    with staged_file(target) as staging:
        for block, batch in enumerate(features.file_batches(file, groups, rows_in(BATCH_BYTES, features.dim))):
            table = latents_table(_model(model), batch, output, derive(LATENTS, output.seed, number, block))
            writer = writer or open_writer(staging, table.schema, features.provenance)
            writer.write_table(table)
            rows += len(batch)
        if writer is None:
            raise DataError(f"{file}: row groups {groups} hold no rows")
        writer.close()
    return rows


@lru_cache(maxsize=1)
def _model(path: str) -> Any:
    """The model, kept for the next unit in this process."""
    import torch

    from resvae_ray.model.network import ResVAE

    return ResVAE.from_pretrained(path).to("cuda" if torch.cuda.is_available() else "cpu")


def latents_table(model: Any, batch: FeatureBatch, output: Output, seed: int) -> pa.Table:
    """LATENTS of some rows: id, z, what `output` asks for, then the columns that pass through.

    Args:
        model: a ResVAE in eval mode.
        seed: of the draws, if any.
    """
    import torch

    from resvae_ray.model.loss import squared_error

    device = next(model.parameters()).device
    with torch.inference_mode():
        x = torch.tensor(batch.features, device=device)
        z, logvar = model.encode(x)
        if output.sample:
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))
            z = model.reparameterize(z, logvar, noise.to(device))
        columns = {names.ID: batch.ids, names.LATENT: vectors(z.cpu().numpy())}
        if output.logvar:
            columns[names.LOGVAR] = vectors(logvar.cpu().numpy())
        if output.recon_error:
            columns[names.RECON_ERROR] = pa.array(squared_error(model.decode(z), x).cpu().numpy())
    if taken := sorted(set(columns) & set(batch.others.column_names)):
        raise DataError(f"the features have a column {taken[0]!r}, which the latents need for themselves; rename it")
    table = pa.table(columns)
    for name in batch.others.column_names:
        table = table.append_column(batch.others.schema.field(name), batch.others.column(name))
    return table


def _units(source: Features) -> list[Unit]:
    """The input files, a large one in several parts; outputs keep the names below the folder that was given."""
    place = locate(source.path)[1]
    is_folder = source.filesystem.get_file_info(place).type == pafs.FileType.Directory
    root = f"{place}/" if is_folder else _common_folder(source.files)
    units: list[Unit] = []
    most = rows_in(FILE_BYTES, source.dim)
    for file in source.files:
        metadata = parquet_file(source.filesystem, file).metadata
        counts = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        parts = _parts(counts, most)
        stem = file[len(root) :].removesuffix(SUFFIX)
        for groups in parts:
            suffix = f"-{groups[0]:05d}" if len(parts) > 1 else ""
            rows = sum(counts[group] for group in groups)
            units.append(Unit(len(units), file, tuple(groups), rows, f"{stem}{suffix}{SUFFIX}"))
    return units


def _parts(counts: Sequence[int], most: int) -> list[list[int]]:
    """Row groups put together up to about `most` rows; groups without rows are left out."""
    parts: list[list[int]] = []
    rows = most
    for group, count in enumerate(counts):
        if not count:
            continue
        if rows + count > most and rows:
            parts.append([])
            rows = 0
        parts[-1].append(group)
        rows += count
    return parts


def _common_folder(files: Sequence[str]) -> str:
    """The longest folder, with its slash, that all the files of a glob are below."""
    folders = [file.split("/")[:-1] for file in files]
    shared = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared) + "/"


def _about(model: Path, source: Features, output: Output) -> dict[str, Any]:
    """What decides the content of LATENTS."""
    digest = hashlib.blake2b((model / names.WEIGHTS_FILE).read_bytes(), digest_size=16).hexdigest()
    infos = source.filesystem.get_file_info(list(source.files))
    files = [
        [file, rows, info.size, info.mtime_ns]
        for file, rows, info in zip(source.files, source.file_rows, infos, strict=True)
    ]
    return {"model": digest, "features": files, "output": asdict(output), "rows": source.rows}


def _known(folder: Path) -> dict[str, Any] | None:
    """What the latents in a folder come from; None if it holds none."""
    record = folder / names.ENCODING_FILE
    if not record.exists():
        return None
    known = read_json(record)
    return {key: value for key, value in known.items() if key != DONE} if isinstance(known, dict) else {}


def _encode_folder(
    folder: Path,
    units: list[Unit],
    about: dict[str, Any],
    source: Features,
    model: Path,
    output: Output,
    address: str,
    progress: Progress,
) -> None:
    """Makes the folder, or goes on with it where it holds a part of the same job."""
    known = _known(folder)
    if known is None:
        refuse_existing(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / names.ENCODING_FILE, about)
    elif known != about:
        raise UsageError(f"{folder}: holds latents of another model, other features or other options")
    _encode_units(units, source, model, folder, output, address, progress)
    _finish(folder, about, units)


def _encode_units(
    units: list[Unit],
    source: Features,
    model: Path,
    folder: Path,
    output: Output,
    address: str,
    progress: Progress,
) -> None:
    missing = [unit for unit in units if not (folder / unit.output).exists()]
    done = sum(unit.rows for unit in units) - sum(unit.rows for unit in missing)
    progress(done, source.rows)
    if not missing:
        return
    for unit in missing:
        (folder / unit.output).parent.mkdir(parents=True, exist_ok=True)
    with ray_session(address) as nodes:
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        for row in _results(missing, source, model, folder, output, gpus):
            if row["error"]:
                raise getattr(errors, row["kind"])(row["error"])
            done += row["rows"]
            progress(done, source.rows)


def _results(
    units: list[Unit], source: Features, model: Path, folder: Path, output: Output, gpus: int
) -> Iterator[dict[str, Any]]:
    """What `encode_unit` says of each unit, as they are done."""
    import ray.data
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    # Ray ends a process after each task that has a GPU, to free its memory; ours keeps the model for the next one.
    share: dict[str, Any] = {"num_gpus": 1, "max_calls": 0} if gpus else {"num_cpus": 1}
    items = [{**asdict(unit), "groups": list(unit.groups)} for unit in units]
    results = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        encode_unit,  # pyright: ignore[reportArgumentType]
        fn_kwargs={"features": source, "model": str(model), "folder": str(folder), "output": output},
        batch_size=1,
        compute=ray.data.TaskPoolStrategy(),
        **share,
    )
    try:
        yield from results.iter_rows()
    except RayError as error:
        raise JobError(
            f"Ray gave up: {first_line(error)}; the same command again goes on with what is missing"
        ) from error


def _finish(folder: Path, about: dict[str, Any], units: list[Unit]) -> None:
    """Counts what is on the disk before calling it done."""
    for unit in units:
        path = folder / unit.output
        found = pq.read_metadata(path).num_rows if path.exists() else 0
        if found != unit.rows:
            raise JobError(f"{path}: {found} rows instead of {unit.rows}; run the same command again")
    write_json(folder / names.ENCODING_FILE, {**about, DONE: True})


def _join(folder: Path, units: list[Unit], target: Path) -> None:
    """One file from the files of a folder, which is removed."""
    local = pafs.LocalFileSystem()
    with staged_file(target) as staging:
        schema = parquet_file(local, str(folder / units[0].output)).schema_arrow
        with pq.ParquetWriter(staging, schema, compression="zstd") as writer:
            for unit in units:
                for piece in parquet_file(local, str(folder / unit.output)).iter_batches():
                    writer.write_batch(piece)
    shutil.rmtree(folder)
