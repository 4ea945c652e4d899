"""The number of trials that run at once, and the CPUs and GPUs of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resvae_ray.config import ResourcesConfig
from resvae_ray.errors import UsageError

MOST_AT_ONCE = 8  # the default limit: TPE learns only from ended trials, so more at once would search blindly
MOST_PER_GPU = 4  # a Res-VAE fills a small part of a GPU

NodeResources = Mapping[str, float]


@dataclass(frozen=True)
class Slots:
    """Attributes:
    cpus, gpus: per trial.
    concurrent: trials at the same time.
    """

    cpus: float
    gpus: float
    concurrent: int

    @property
    def threads(self) -> int:
        """CPU threads per trial."""
        return max(1, int(self.cpus))


def plan_slots(wanted: ResourcesConfig, nodes: Sequence[NodeResources], trials: int) -> Slots:
    """The user's settings, with defaults from the nodes of the Ray cluster.

    With GPUs, up to 4 trials share one GPU and about 8 run at once. Without GPUs, up to 8 trials share the cores.
    --concurrent and smaller shares override these limits.

    Raises:
        UsageError: a trial fits on no node, and the cluster cannot grow; or a growing cluster (--address) has no node
            yet from which to derive the defaults.
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
    """The GPUs per trial, if the user does not set them."""
    return 1 / min(MOST_PER_GPU, max(1, int(MOST_AT_ONCE // total))) if total else 0.0


def _target(wanted: ResourcesConfig, nodes: Sequence[NodeResources], gpus: float) -> int:
    """The number of trials to run at once, given enough cores."""
    if gpus:
        return max(1, sum(_fitting(node, 0.0, gpus) for node in nodes))
    if wanted.cpus_per_trial:
        return max(1, sum(_fitting(node, wanted.cpus_per_trial, 0.0) for node in nodes))
    return MOST_AT_ONCE


def _cpu_share(nodes: Sequence[NodeResources], gpus: float, target: int) -> float:
    """The most whole cores per trial that let `target` trials fit, and at least one."""
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
