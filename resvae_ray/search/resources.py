"""How many trials run at the same time and what each of them gets."""

from collections.abc import Mapping
from dataclasses import dataclass

from resvae_ray.config import ResourcesConfig
from resvae_ray.errors import UsageError

MOST_AT_ONCE = 8  # chosen by ourselves: TPE learns from what has ended, and more at once would run ahead of it
MOST_PER_GPU = 4  # a Res-VAE fills a small part of a GPU


@dataclass(frozen=True)
class Slots:
    """Attributes:
    cpus, gpus: of a trial.
    concurrent: trials at the same time.
    """

    cpus: float
    gpus: float
    concurrent: int

    @property
    def threads(self) -> int:
        """CPU threads of a trial."""
        return max(1, int(self.cpus))


def plan_slots(wanted: ResourcesConfig, available: Mapping[str, float], trials: int) -> Slots:
    """What the user gave, completed from the resources of the Ray cluster.

    With GPUs, up to 4 trials share one and about 8 run at once; without, up to 8 share the cores. Whoever asks for more
    with --concurrent, or for smaller shares, gets it.

    Raises:
        UsageError: a trial asks for more than the cluster has.
    """
    total_cpus, total_gpus = available.get("CPU", 1.0), available.get("GPU", 0.0)
    gpus = wanted.gpus_per_trial
    if not gpus and total_gpus:
        gpus = 1 / min(MOST_PER_GPU, max(1, int(MOST_AT_ONCE // total_gpus)))
    most = _fitting(total_gpus, gpus) if gpus else _fitting(total_cpus, wanted.cpus_per_trial) or MOST_AT_ONCE
    concurrent = wanted.concurrent or max(1, min(most, trials))
    cpus = wanted.cpus_per_trial or max(1.0, float(total_cpus // concurrent))
    if cpus > total_cpus or gpus > total_gpus:
        raise UsageError(
            f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, but the cluster has {total_cpus:g} and {total_gpus:g}; "
            "lower --cpus-per-trial or --gpus-per-trial"
        )
    return Slots(cpus, gpus, wanted.concurrent or min(concurrent, _fitting(total_cpus, cpus)))


def _fitting(total: float, share: float) -> int:
    """How many shares there are; 0 for no share."""
    return int(total / share + 1e-9) if share else 0
