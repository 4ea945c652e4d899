"""The Ray side of `embed`: what each worker gets, and the task that embeds a part."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from resvae_ray.embed.model_files import ModelFiles
from resvae_ray.embed.settings import BFLOAT16, FLOAT32, Embedding
from resvae_ray.embed.work import Part, read_part
from resvae_ray.errors import JobError, UsageError
from resvae_ray.files.place import Place
from resvae_ray.on_ray.tasks import Share, gpu_share

CORES_A_WORKER = 4  # where there is no GPU: they share one copy of the model
GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class Workers:
    """The workers that embed, if the default for the machine is not wanted.

    Attributes:
        gpus: how many to use; None for all, 0 for none.
        count: processes that hold the model; None for one a GPU, or one for four cores.
        address: of a running Ray cluster; empty starts a local one.
    """

    gpus: int | None = None
    count: int | None = None
    address: str = ""

    def __post_init__(self) -> None:
        if self.gpus is not None and self.gpus < 0:
            raise UsageError(f"--gpus {self.gpus}: it must be 0 or above")
        if self.count is not None and self.count < 1:
            raise UsageError(f"--workers {self.count}: it must be at least 1")


def shares(nodes: list[Mapping[str, float]], workers: Workers, parts: int) -> tuple[Share, int, int]:
    """The resources that Ray gives each worker, the number of workers, and the threads of each.

    Args:
        parts: to be embedded; more workers would have nothing to do.
    """
    most = max(1, parts)
    there = int(sum(node.get("GPU", 0) for node in nodes))
    gpus = there if workers.gpus is None else workers.gpus
    if gpus > there:
        raise UsageError(f"--gpus {gpus}: Ray finds {there} here; leave it out to use all there are")
    if gpus:
        count = min(workers.count or gpus, most)
        return gpu_share(1 / -(-count // gpus)), count, 1
    cores = [int(node.get("CPU", 0)) for node in nodes]
    count = min(workers.count or max(1, sum(cores) // CORES_A_WORKER), most)
    threads = max(1, min(sum(cores) // count, max(cores)))
    return {"num_cpus": threads}, count, threads


def best_precision(share: Share) -> str:
    """bfloat16 where the workers' GPU computes with it, and float32 elsewhere."""
    if "num_gpus" not in share:
        return FLOAT32
    import ray

    return ray.get(ray.remote(num_gpus=share["num_gpus"])(gpu_precision).remote())


def gpu_precision() -> str:
    """The best precision of this process's GPU."""
    import torch

    has_it = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return BFLOAT16 if has_it else FLOAT32


def in_turn(parts: list[Part]) -> list[Part]:
    """Alternates short and long proteins, so that the remaining time can be estimated from the elapsed time."""
    return sorted(parts, key=lambda part: part.number * GOLDEN_RATIO % 1)


def embed_part(part: Part, folder: Place, settings: Embedding, gpu: bool, threads: int) -> int:
    """Embeds a part and writes its vectors; the proteins in it."""
    ids, sequences, sites = read_part(folder, part)
    vectors = _model(settings.model, settings.precision, gpu).vectors(sequences, sites, settings, threads)
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise JobError(f"{settings.model}: the vector of {ids[row]} is not finite; the weights may be damaged")
    with part.file(folder).staged_file() as staging, staging.open("wb") as file:
        np.save(file, vectors)
    return part.stop - part.start


@lru_cache(maxsize=1)
def _model(model: str, precision: str, gpu: bool) -> Any:
    """The model, kept for the next part in this process."""
    from resvae_ray.embed.language_model import LanguageModel

    return LanguageModel.load(ModelFiles.find(model), precision, gpu)
