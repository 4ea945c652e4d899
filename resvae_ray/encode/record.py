"""The provenance of LATENTS, recorded in `_encoding.json`: an interrupted job resumes only if it matches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resvae_ray import names
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.encode.latents import Output
from resvae_ray.encode.skipped import SkipList
from resvae_ray.encode.units import Unit
from resvae_ray.files.atomic import read_json
from resvae_ray.files.place import Place

ORIGIN = ("model", "layer", "pooling")  # keys of the provenance that say which features they are
DONE = "done"  # in the record: all rows are there


@dataclass(frozen=True)
class EncodingJob:
    """The settings shared by all encoding tasks.

    Attributes:
        weights: the hash of the model's weights when the job began.
        folder: where the output files are written.
        axes: the DATASET on which axes are fitted, along which the latents are also written.
    """

    model: Place
    weights: str
    features: Features
    folder: Place
    output: Output
    axes: Dataset | None = None


def about_of(job: EncodingJob, units: list[Unit]) -> dict[str, Any]:
    """Everything that determines the content of LATENTS: options, and the size, time and outputs of each file."""
    source = job.features
    infos = source.filesystem.get_file_info(list(source.files))
    outputs: dict[str, dict[str, int]] = {file: {} for file in source.files}
    for unit in units:
        outputs[unit.file][unit.output] = unit.rows
    files = {file: [info.size, info.mtime_ns, outputs[file]] for file, info in zip(source.files, infos, strict=True)}
    passed_on = filter(None, (source.layout.label, *source.layout.others))
    columns = {name: str(source.schema.field(name).type) for name in passed_on}
    return {
        "model": job.weights,
        "features": files,
        "columns": columns,
        "provenance": source.provenance,
        "output": job.output.record(),
        **({"axes": job.axes.fingerprint} if job.axes else {}),
    }


def known_of(folder: Place) -> dict[str, Any] | None:
    """The recorded provenance of the latents in a folder; None if it holds none."""
    record = folder / names.ENCODING_FILE
    if not record.exists():
        return None
    known = read_json(record)
    return {key: value for key, value in known.items() if key != DONE} if isinstance(known, dict) else {}


def is_same(known: dict[str, Any], about: dict[str, Any], skipped: SkipList) -> bool:
    """Whether LATENTS of `known` can become those of `about`: only files that were skipped may have changed since."""
    return _without(known, skipped) == _without(about, skipped)


def _without(about: dict[str, Any], skipped: SkipList) -> dict[str, Any]:
    bad, files = {entry.file for entry in skipped.before}, about.get("features")
    left = {file: found for file, found in files.items() if file not in bad} if isinstance(files, dict) else None
    return about | {"features": left}


def write_record(folder: Place, record: dict[str, Any]) -> None:
    """Says of the latents in a folder what they come from."""
    (folder / names.ENCODING_FILE).write_json(record)


def remove_changed(folder: Place, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Removes the outputs of files that have since been repaired or deleted; only within `folder`."""
    changed = [found for file, found in before.items() if now.get(file) != found and isinstance(found, list)]
    stale = {output for found in changed if isinstance(found[-1], dict) for output in found[-1]}
    for name in folder.file_names() & stale if stale else ():
        (folder / name).unlink()


def other_origin(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """What of ORIGIN differs between the features of a MODEL and FEATURES, in words; empty if nothing is known to.

    Args:
        config: config.json of the MODEL.
        provenance: of FEATURES.
    """
    trained = config.get("features")
    if not isinstance(trained, dict):
        return ""
    both = [key for key in ORIGIN if key in trained and key in provenance]
    # A language model may be a folder here and a name on the hub there.
    names = {key: [str(side[key]).rstrip("/").rpartition("/")[2] for side in (trained, provenance)] for key in both}
    return ", ".join(f"{key} {theirs!r} instead of {own!r}" for key, (own, theirs) in names.items() if own != theirs)
