"""The plan of a flow: its steps, how large their results become, and how long the search takes; nothing is written."""

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.data.importers import read_features
from resvae_ray.data.proteins import read_proteins
from resvae_ray.data.stream import ResidentRows
from resvae_ray.embed.model_files import ModelFiles
from resvae_ray.embed.pooling import width
from resvae_ray.embed.settings import Embedding
from resvae_ray.embed.work import Longest
from resvae_ray.files.place import LocalPlace, local_target
from resvae_ray.flow.flow_settings import FlowSettings
from resvae_ray.flow.run_all import require_ready
from resvae_ray.flow.steps import Step, steps_of
from resvae_ray.model.training import Training
from resvae_ray.search.run.disk_space import space_needed

COUNT_SECONDS = 5.0  # of reading the source to count its rows
TRIED_ROWS = 512  # of random numbers, for an epoch that is timed
VAL_FRACTION = 0.2  # the default of `split`


@dataclass(frozen=True)
class Source:
    """A source, as far as it was read.

    Attributes:
        rows: proteins that were read.
        whole: whether these are all.
        dim: D; None for sequences whose language model is not on this machine.
    """

    rows: int
    whole: bool
    dim: int | None


@dataclass(frozen=True)
class PlannedStep:
    """A step, whether it is done, and what it takes; None where that is not known."""

    step: Step
    done: bool
    size: int | None
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """All steps, and the source that they begin with."""

    source: Source
    steps: list[PlannedStep]


def plan(source: str | Path, folder: str | Path, settings: FlowSettings | None = None) -> Plan:
    """Plans a flow, or the rest of one.

    Raises:
        UsageError, DataError: see `run_all`, as far as it can be seen without work.
    """
    home, source = local_target(folder), str(source)
    settings = (settings or FlowSettings()).for_source(source)
    require_ready(source, home, settings)
    seen = _look(source, home, settings)
    sizes, seconds = _sizes(seen, settings.config), {names.RUN_FOLDER: _search_seconds(seen, settings.config)}
    steps = steps_of(source, home, settings)
    return Plan(
        seen,
        [PlannedStep(s, s.done(), sizes.get(s.result.name), seconds.get(s.result.name)) for s in steps],
    )


def _look(source: str, home: LocalPlace, settings: FlowSettings) -> Source:
    features = home / names.FEATURES_FILE
    if features.exists():
        source, settings = str(features), FlowSettings()
    started, rows, dim = time.monotonic(), 0, None
    if settings.embedding:
        dim, longest = _embedded_width(settings.embedding), Longest(settings.embedding)
        for proteins in read_proteins(source, settings.proteins):
            rows += len(proteins)
            longest.look_at(proteins)
            if time.monotonic() - started > COUNT_SECONDS:
                return Source(rows, False, dim)
        longest.raise_if_error(source)
        return Source(rows, True, dim)
    with closing(read_features(source, settings.columns)) as pieces:
        for piece in pieces:
            rows, dim = rows + len(piece), piece.features.shape[1]
            if time.monotonic() - started > COUNT_SECONDS:
                return Source(rows, False, dim)
    return Source(rows, True, dim)


def _embedded_width(embedding: Embedding) -> int | None:
    """The width of the features; None if the model has to be downloaded first.

    Raises:
        UsageError, DataError: no such model, or a pooling or layer that it does not have.
    """
    model = ModelFiles.find_local(embedding.model)
    return None if model is None else width(model.outputs(embedding)[0].pooling, model.dim)


def _sizes(seen: Source, config: Config) -> dict[str, int]:
    """Bytes of the results at most, by their names; compression may halve them."""
    if seen.dim is None or not seen.whole:
        return {}
    features, latents = 4 * seen.rows * seen.dim, 4 * seen.rows * config.training.z_dim
    return {
        names.FEATURES_FILE: features,
        names.DATASET_FOLDER: features,
        names.RUN_FOLDER: space_needed(config, seen.dim, 1),
        names.LATENTS_FILE: latents,
    }


def _search_seconds(seen: Source, config: Config) -> float | None:
    """For the most trials, one after another and none stopped early, by an epoch on random numbers in this process."""
    if seen.dim is None or not seen.whole:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(TRIED_ROWS, seen.dim)).astype(np.float32))
    tried = ResidentRows(rows.to(device))
    training = Training(replace(config.training, epochs=1), tried, ResidentRows(rows[:32].to(device)), 0, device)
    (metrics,) = training.epochs()
    epoch = seen.rows * (1 - VAL_FRACTION) / metrics[names.ROWS_PER_SECOND]
    return epoch * config.training.epochs * config.search.most_trials
