"""Judges the examinations: each finding is fine, or a problem with its cure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from resvae_ray.doctor.examination import Examination
from resvae_ray.wording import count

CLOCK_LIMIT_S = 2.0  # the ages of trials and heartbeats are reported in seconds


@dataclass(frozen=True)
class Finding:
    """Attributes:
    about: the subject of the check, in one word.
    ok: None if it was not checked.
    text: what was found.
    cure: what to do about it; empty if no action is needed.
    """

    about: str
    ok: bool | None
    text: str
    cure: str = ""

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


@dataclass(frozen=True)
class ExaminedNode:
    """A machine of the cluster that has answered.

    Attributes:
        name: its host name, with its address if several have that.
        resources: what Ray hands out there.
        examination: what it says of itself.
        ahead_s: its clock, against that of the machine that asks.
        sees: the names of the machines whose files it reads in the storage.
    """

    name: str
    resources: Mapping[str, float]
    examination: Examination
    ahead_s: float
    sees: Sequence[str] = ()


def judge(nodes: Sequence[ExaminedNode], silent: Mapping[str, str], storage: str) -> list[Finding]:
    """All findings.

    Args:
        nodes: those that have answered.
        silent: for each that has not, why.
        storage: the folder that was tried; empty if none was.
    """
    return [
        judge_answers(nodes, silent),
        judge_versions(nodes),
        judge_gpus(nodes),
        judge_storage(nodes, storage),
        judge_clocks(nodes),
        judge_token(nodes),
    ]


def judge_answers(nodes: Sequence[ExaminedNode], silent: Mapping[str, str]) -> Finding:
    """Whether every machine could be examined."""
    if silent:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in silent.items())
        return Finding("ray", False, reasons, "see that this package is installed there and that Ray runs there still")
    cpus, gpus = (sum(node.resources.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    return Finding("ray", True, f"{count(len(nodes), 'machine')} with {cpus:g} CPUs and {gpus:g} GPUs")


def judge_versions(nodes: Sequence[ExaminedNode]) -> Finding:
    """Whether all have the same; of torch, builds for different hardware are the same."""
    reference = nodes[0]
    for name, expected in reference.examination.versions.items():
        for node in nodes:
            found = node.examination.versions[name]
            if found == "missing" or _release(found) != _release(expected):
                text = f"{name} is {found} on {node.name} and {expected} on {reference.name}"
                return Finding("versions", False, text, "install on both with --constraint constraints.txt")
    shown = ("python", "ray", "torch", "resvae_ray")
    return Finding("versions", True, ", ".join(f"{name} {reference.examination.versions[name]}" for name in shown))


def judge_gpus(nodes: Sequence[ExaminedNode]) -> Finding:
    """Whether torch can use those that Ray hands out, and Ray hands out those that torch can use."""
    for node in nodes:
        by_ray, by_torch = int(node.resources.get("GPU", 0)), node.examination.torch_gpus
        text = f"Ray has {by_ray} on {node.name}, torch {node.examination.versions['torch']} sees {by_torch}"
        if by_ray > by_torch:
            return Finding("GPUs", False, text, "look whether nvidia-smi lists them, and install torch with CUDA there")
        if by_ray < by_torch and node.resources.get("CPU"):  # a head without cores is there for the search alone
            return Finding("GPUs", False, text, "start Ray there without --num-gpus, CUDA_VISIBLE_DEVICES unset")
    total = sum(int(node.resources.get("GPU", 0)) for node in nodes)
    return Finding("GPUs", True, f"{total}, seen by Ray and by torch" if total else "none; the work runs on the cores")


def judge_storage(nodes: Sequence[ExaminedNode], storage: str) -> Finding:
    """Whether each machine can write there, and reads what the others have written."""
    if not storage:
        return Finding("storage", None, "not looked at", "give --storage, the folder of RUN or LATENTS")
    for node in nodes:
        if node.examination.write_error:
            text = f"{node.name} cannot write to {storage}: {node.examination.write_error}"
            return Finding("storage", False, text, "make the folder, or give that machine the rights or the role")
    for node in nodes:
        if unseen := sorted({other.name for other in nodes} - set(node.sees)):
            text = f"{node.name} does not see in {storage} what {unseen[0]} has written"
            return Finding("storage", False, text, "mount the same file system there on all machines, or use s3://")
    return Finding("storage", True, f"{storage} is written and read by {count(len(nodes), 'machine')}")


def judge_clocks(nodes: Sequence[ExaminedNode]) -> Finding:
    """Whether they agree with the clock of the machine that asks."""
    worst = max(nodes, key=lambda node: abs(node.ahead_s))
    if abs(worst.ahead_s) > CLOCK_LIMIT_S:
        way = "ahead" if worst.ahead_s > 0 else "behind"
        return Finding("clocks", False, f"{worst.name} is {abs(worst.ahead_s):.1f} s {way}", "run chrony or ntpd there")
    return Finding("clocks", True, f"within {abs(worst.ahead_s):.2f} s")


def judge_token(nodes: Sequence[ExaminedNode]) -> Finding:
    """Whether the cluster rejects work from anyone without its token."""
    for node in nodes:
        if not node.examination.token_asked:
            cure = "stop Ray there, make a token (ray get-auth-token --generate), start Ray with RAY_AUTH_MODE=token"
            return Finding("token", False, f"{node.name} takes work from anyone who reaches it", cure)
    for node in nodes:
        if path := node.examination.token_readable:
            return Finding("token", False, f"others can read {path} on {node.name}", f"chmod 600 {path}")
    return Finding("token", True, f"asked for by {count(len(nodes), 'machine')}")


def _release(text: str) -> str:
    return text.partition("+")[0]
