"""The disk space that a RUN may need, checked before the search starts."""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from resvae_ray import names
from resvae_ray.config import PROMOTE, Config
from resvae_ray.errors import JobError, UsageError
from resvae_ray.files.place import Place
from resvae_ray.model.network import ResVAE

RECORDS_BYTES = 32 << 20  # journal, epochs, tables, TensorBoard's and Ray's files, the projector
HEADER_BYTES = 64 << 10  # of a file with tensors


def space_needed(config: Config, dim: int, at_once: int) -> int:
    """The most bytes that a search may need: checkpoints, including those being replaced, and records.

    An ended trial keeps its best weights. A running or paused trial also has its state: the weights, two moments per
    weight for Adam, and possibly an average of the weights. While these files are rewritten, both versions exist.

    Args:
        dim: D.
        at_once: trials at the same time.
    """
    weights = _weight_bytes(config, dim)
    state = (4 if config.training.average or "average" in config.space else 3) * weights
    kept = config.search.most_trials + config.search.finalists * config.search.seeds
    models = 2  # RUN/model and its replacement
    unfinished = config.search.most_trials if config.search.scheduler == PROMOTE else at_once
    return (kept + models + at_once) * weights + (unfinished + at_once) * state + RECORDS_BYTES


def require_space(run: Place, config: Config, dim: int, at_once: int) -> None:
    """Checks and reports the space that the search may need.

    Args:
        run: the RUN's folder, which may not exist yet. Weights that it already holds are not counted again. Free space
            in a bucket is unknown.

    Raises:
        JobError: there is not enough free space.
        UsageError: the network is too large.
    """
    folder = run.local
    if folder is None:
        return
    needed = max(0, space_needed(config, dim, at_once) - _taken(folder))
    free = shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free
    if needed > free:
        raise JobError(
            f"{run}: the search may take {_gb(needed)} there, mostly for {config.search.most_trials} checkpoints, and "
            f"{_gb(free)} are free; make space, choose another folder, or lower --trials or the largest hidden_dim"
        )
    print(f"{run}: takes at most {_gb(needed)} more, of {_gb(free)} that are free", file=sys.stderr)


def _weight_bytes(config: Config, dim: int) -> int:
    """The weight bytes of the largest network of the search."""
    hidden, z = (_largest(config, name) for name in ("hidden_dim", "z_dim"))
    try:
        with torch.device("meta"):
            model = ResVAE(dim, hidden, z, linear=_linear(config), conditioned=_largest(config, "prefixes") > 0)
            tensors = model.state_dict().values()
    except (RuntimeError, TypeError, OverflowError):  # torch raises a TypeError above 64 bits
        raise UsageError(
            f"hidden_dim up to {hidden}, z_dim up to {z}: 64 bits cannot count the bytes of such a network; lower them"
        ) from None
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + HEADER_BYTES


def _largest(config: Config, name: str) -> int:
    domain = config.space.get(name)
    if domain is None:
        return getattr(config.training, name)
    highest: Any = max(domain.choices, default=domain.high)
    return int(highest)


def _linear(config: Config) -> str:
    """The linear path of the largest network."""
    domain = config.space.get("linear")
    return "pca" if "pca" in (domain.choices if domain else (config.training.linear,)) else "none"


def _taken(run: Path) -> int:
    folders = (run / names.TRIALS_FOLDER, run / names.FINALISTS_FOLDER, run / names.MODEL_FOLDER)
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
