"""How many trials run at the same time and what each of them gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resvae_ray.config import ResourcesConfig
from resvae_ray.errors import UsageError

MOST_AT_ONCE = 8  # chosen by ourselves: TPE learns from what has ended, and more at once would run ahead of it
MOST_PER_GPU = 4  # a Res-VAE fills a small part of a GPU

NodeResources = Mapping[str, float]


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


def plan_slots(wanted: ResourcesConfig, nodes: Sequence[NodeResources], trials: int) -> Slots:
    """What the user gave, completed from what the nodes of the Ray cluster have.

    With GPUs, up to 4 trials share one and about 8 run at once; without, up to 8 share the cores. Whoever asks for more
    with --concurrent, or for smaller shares, gets it.

    Raises:
        UsageError: a trial fits on no node, and the cluster is not one (given by --address) that may still grow; or
            no node of one that may has anything yet from which to choose what was left open.
    """
    if wanted.address and not any(node.get("CPU") or node.get("GPU") for node in nodes):
        _require_all(wanted)
    gpus = (
        _gpu_share(sum(node.get("GPU", 0.0) for node in nodes))
        if wanted.gpus_per_trial is None
        else wanted.gpus_per_trial
    )
    target = wanted.concurrent or min(trials, _target(wanted, nodes, gpus))
    cpus = wanted.cpus_per_trial or _cpu_share(nodes, gpus, target)
    fitting = sum(_fitting(node, cpus, gpus) for node in nodes)
    if not fitting and not wanted.address:
        most = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise UsageError(
            f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, but this machine has {most}; lower --cpus-per-trial or "
            "--gpus-per-trial"
        )
    return Slots(cpus, gpus, wanted.concurrent or max(1, min(target, fitting)))


def _require_all(wanted: ResourcesConfig) -> None:
    if wanted.gpus_per_trial is None or wanted.concurrent is None:
        raise UsageError(
            "the cluster has no machine yet on which a trial could run, so say what one gets and how many run at once: "
            "--gpus-per-trial (0 for the cores), --cpus-per-trial and --concurrent"
        )


def _gpu_share(total: float) -> float:
    """Of a trial, where the user leaves it open."""
    return 1 / min(MOST_PER_GPU, max(1, int(MOST_AT_ONCE // total))) if total else 0.0


def _target(wanted: ResourcesConfig, nodes: Sequence[NodeResources], gpus: float) -> int:
    """How many trials would run at once, if there were cores enough."""
    if gpus:
        return max(1, sum(_fitting(node, 0.0, gpus) for node in nodes))
    if wanted.cpus_per_trial:
        return max(1, sum(_fitting(node, wanted.cpus_per_trial, 0.0) for node in nodes))
    return MOST_AT_ONCE


def _cpu_share(nodes: Sequence[NodeResources], gpus: float, target: int) -> float:
    """The most whole cores a trial with which `target` trials still fit; one where not even that many fit."""
    largest = max((int(node.get("CPU", 0.0)) for node in nodes), default=1)
    for cpus in range(max(1, largest), 1, -1):
        if sum(_fitting(node, cpus, gpus) for node in nodes) >= target:
            return float(cpus)
    return 1.0


def _fitting(node: NodeResources, cpus: float, gpus: float) -> int:
    """How many trials of that size a node holds. Fractions of one GPU are never taken from two."""
    total_cpus, total_gpus = node.get("CPU", 0.0), node.get("GPU", 0.0)
    by_cpu = int(total_cpus / cpus + 1e-9) if cpus else None
    if not gpus:
        return by_cpu or 0
    by_gpu = int(total_gpus) * int(1 / gpus + 1e-9) if gpus <= 1 else int(total_gpus / gpus + 1e-9)
    return by_gpu if by_cpu is None else min(by_cpu, by_gpu)
