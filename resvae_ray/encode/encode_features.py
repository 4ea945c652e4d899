"""FEATURES and a MODEL to LATENTS: the job from its start to its end.

The unit of work is an input file, or some row groups of a large one: a task reads it, encodes it and writes one
output file of the same name, which appears when it is whole. So ids stay with their rows, nothing is written twice, and
an interrupted job resumes with the missing files. LATENTS in one file are made from these files, see writers/.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resvae_ray import names
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features, rows_in
from resvae_ray.data.features_writer import open_writer
from resvae_ray.data.importers import import_features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.encode.encoded_parts import EncodedParts
from resvae_ray.encode.latents import Output, kept_model, latents_table, weights_hash
from resvae_ray.encode.record import (
    DONE,
    EncodingJob,
    about_of,
    is_same,
    known_of,
    other_origin,
    remove_changed,
    write_record,
)
from resvae_ray.encode.skipped import OnBadFile, SkipList, open_readable, stop
from resvae_ray.encode.units import Unit, units_of
from resvae_ray.encode.writers import FORMATS, Format
from resvae_ray.errors import BadFileError, DataError, JobError, UsageError
from resvae_ray.files.atomic import read_json
from resvae_ray.files.place import AnyPath, Place, place, refuse_inside
from resvae_ray.model.axes import Axes, fit_axes, refuse_other_width
from resvae_ray.model.pretrained import read_model_config
from resvae_ray.on_ray.pieces import make_pieces, missing_pieces, one_core, require_rows
from resvae_ray.on_ray.tasks import Share, gpu_share
from resvae_ray.progress import Progress, silent
from resvae_ray.seeds import LATENTS, derive
from resvae_ray.wording import count

H5AD = ".h5ad"
BATCH_BYTES = 16 << 20  # of float32 that go through the network at a time


def encode_features(
    model: AnyPath,
    features: str | Path,
    latents: str | Path,
    output: Output | None = None,
    *,
    axes: AnyPath | None = None,
    features_column: str | None = None,
    address: str = "",
    progress: Progress = silent,
    on_bad_file: OnBadFile = stop,
    on_other_origin: Callable[[str], None] = lambda words: None,
) -> int:
    """Encodes all rows of FEATURES (or of a DATASET, both sides) and returns their number.

    Args:
        features: FEATURES, a DATASET, or an H5AD file.
        latents: a file, if it ends in .parquet, .csv, .tsv, .npz, .h5, .h5ad or .parquetbundle; else a folder, with a
            file for each input file.
        axes: a DATASET, on whose training rows axes are fitted (see model/axes.py): LATENTS get a column of scores
            along them, in which distances are those of what the latents explain. None leaves it out.
        features_column: which matrix of an H5AD file holds the features: X or a key of obsm. By default X.
        address: of a running Ray cluster; empty starts a local one.
        progress: called with the number of rows encoded so far.
        on_bad_file: called for each unreadable file. If it returns, the file is put on a list beside `latents`,
            and the others are encoded; by default it raises.
        on_other_origin: called with what differs, if the record of FEATURES names another language model, layer or
            pooling than that of the features on which the model was trained.

    Raises:
        DataError: no MODEL, no FEATURES, no DATASET, or features of another width than the model's.
        UsageError: `latents` holds something else, lies in the folder of the features, or cannot hold in its format
            what `output` asks for; or `output` asks for the first latents of a model whose latents are not nested.
        JobError: rows are missing at the end, or files were skipped.
    """
    target, home = place(latents), place(model)
    form = FORMATS.get(target.suffix.lower())
    skipped = SkipList(target, on_bad_file)
    refuse_inside(target, features)
    if axes is not None:
        refuse_inside(target, axes)
    config = read_model_config(home)
    output = output or Output()
    output.require_fits(config, home)
    with _as_features(features, features_column, target, form) as path:
        source, listed = open_readable(path, home, config["input_dim"], skipped)
        if differs := other_origin(config, source.provenance):
            on_other_origin(differs)
        if form:
            form.require_holds(source, output.vectors(axes is not None), target)
        folder = target if form is None else target.with_name(f".{target.name}.parts")
        job = EncodingJob(home, weights_hash(home), source, folder, output, _dataset(axes, config["input_dim"]))
        units = units_of(source, listed)
        about = about_of(job, units)
        if form:
            _prepare_parts(folder, about, target, skipped)
        done = _encode_folder(job, units, about, skipped, address, progress)
        if form and done:
            anndata = place(features) if path != str(features) else None
            files, rows = [folder / unit.output for unit in done], sum(unit.rows for unit in done)
            with target.staged_file() as staging:
                form.write(EncodedParts(files, rows, str(home), job.weights, anndata), staging)
        if skipped.now:
            raise JobError(_what_is_missing(target, skipped))
        if form:
            folder.remove_folder()
        return source.rows


@contextmanager
def _as_features(features: str | Path, column: str | None, target: Place, form: Format | None) -> Iterator[str]:
    """The path of FEATURES; for an H5AD file, of a hidden copy of it as FEATURES, which is removed afterwards.

    Raises:
        UsageError: LATENTS of an H5AD file are to be a folder, or `column` is given for FEATURES.
    """
    if not str(features).lower().endswith(H5AD):
        if column is not None:
            raise UsageError(f"--features-column {column}: it chooses a matrix of an {H5AD} file; {features} is none")
        yield str(features)
        return
    if form is None:
        raise UsageError(f"{target}: LATENTS of an {H5AD} file are one file; choose a name that ends in {H5AD} or .csv")
    target.refuse_existing()
    # Always made anew: nothing says whether the H5AD file has changed since a job was killed.
    hidden = target.with_name(f".{target.name}.features.parquet")
    hidden.unlink(missing_ok=True)
    try:
        import_features(str(features), str(hidden), ColumnChoice(features_column=column))
        yield str(hidden)
    finally:
        hidden.unlink(missing_ok=True)


def _dataset(axes: AnyPath | None, input_dim: int) -> Dataset | None:
    if axes is None:
        return None
    dataset = Dataset.open(axes)
    refuse_other_width(dataset, input_dim)
    return dataset


def _what_is_missing(target: Place, skipped: SkipList) -> str:
    files = len({entry.file for entry in skipped.now})
    return (
        f"{target}: {count(files, 'file')} could not be read and {'is' if files == 1 else 'are'} "
        f"listed in {skipped.path}; the rest is encoded; repair them, then rerun the same command to encode them"
    )


def encode_unit(unit: Unit, job: EncodingJob, axes: Axes | None = None) -> int:
    """Encodes a unit, writes its file and returns its number of rows.

    Args:
        axes: those of the job, if it has any.

    Raises:
        BadFileError: it cannot be read.
    """
    rows, writer = 0, None
    name = unit.output.encode(errors="surrogateescape")
    with (job.folder / unit.output).staged_file() as staging:
        for block, batch in enumerate(_read(unit, job.features)):
            seed = derive(LATENTS, job.output.seed, *name, block)
            table = latents_table(kept_model(str(job.model), job.weights), batch, job.output, seed, axes)
            provenance = job.features.provenance | job.output.provenance(job.weights)
            writer = writer or open_writer(staging, table.schema, provenance)
            writer.write_table(table)
            rows += len(batch)
        if writer is None:
            raise BadFileError(f"{unit.file}: row groups {list(unit.groups)} hold no rows")
        writer.close()
    return rows


def _read(unit: Unit, features: Features) -> Iterator[FeatureBatch]:
    try:
        yield from features.file_batches(unit.file, unit.groups, rows_in(BATCH_BYTES, features.dim))
    except DataError as error:
        raise BadFileError(str(error)) from None


def _prepare_parts(folder: Place, about: dict[str, Any], target: Place, skipped: SkipList) -> None:
    """Removes the folder in which the parts of one file wait, unless it can be gone on with.

    Raises:
        UsageError: the file is there already, and nothing is known to be missing in it.
    """
    same = is_same(known_of(folder) or {}, about, skipped)
    if target.exists() and skipped.before:
        if same:
            return
        target.refuse_existing()
    if target.exists() or not same:
        # A leftover of a job that was killed at its very end, or of another job; only this job uses the folder.
        folder.remove_folder()
    target.refuse_existing()


def _encode_folder(
    job: EncodingJob, units: list[Unit], about: dict[str, Any], skipped: SkipList, address: str, progress: Progress
) -> list[Unit]:
    """Creates the folder, or resumes it if it holds part of the same job; returns the units it then contains."""
    known = known_of(job.folder)
    if known is None:
        job.folder.refuse_existing()
        skipped.before = []
    elif not is_same(known, about, skipped):
        raise UsageError(f"{job.folder}: holds latents of another model, other features or other options")
    else:
        remove_changed(job.folder, known["features"], about["features"])
    skipped.write()
    if known != about:
        write_record(job.folder, about)
    bad = _encode_units(job, units, skipped, address, progress)
    done = [unit for unit in units if unit not in bad]
    require_rows(job.folder, done)
    skipped.finish()
    if not skipped.now:
        write_record(job.folder, {**about, DONE: True})
    return done


def _encode_units(
    job: EncodingJob, units: list[Unit], skipped: SkipList, address: str, progress: Progress
) -> list[Unit]:
    """Encodes what is missing; the units that cannot be read."""

    def skip(unit: Unit, error: BadFileError) -> None:
        skipped.add(unit.file, list(unit.groups), error)
        skipped.write()

    missing = missing_pieces(job.folder, units)
    axes = _kept_axes(job, begun=len(missing) < len(units)) if missing else None
    return make_pieces(encode_unit, job.folder, units, address, progress, _share, skip, job=job, axes=axes)


def _share(nodes: Sequence[Mapping[str, float]]) -> Share:
    return gpu_share(1) if sum(node.get("GPU", 0) for node in nodes) >= 1 else one_core(nodes)


def _kept_axes(job: EncodingJob, begun: bool) -> Axes | None:
    """Fitted once a job: another machine rounds differently, and axes that explain about the same turn with that.

    Args:
        begun: latents along them are there already.

    Raises:
        DataError: they were kept, and are damaged or gone.
    """
    if job.axes is None:
        return None
    file = job.folder / names.AXES_FILE
    if file.exists():
        return Axes.from_json(read_json(file), file)
    if begun:
        raise DataError(
            f"{file}: missing, but latents along these axes are there; remove {job.folder} and encode again"
        )
    from resvae_ray.model.network import ResVAE

    # On the cores: the GPUs are the tasks'.
    axes = fit_axes(ResVAE.from_pretrained(job.model), job.axes, job.output.latents)
    file.write_json(axes.to_json())
    return axes
