"""Examines the machines of a Ray cluster, one process pinned to each."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from resvae_ray.doctor.diagnosis import ExaminedNode, Finding, judge, judge_answers
from resvae_ray.doctor.examination import Examiner
from resvae_ray.errors import JobError, ResVAERayError, first_line
from resvae_ray.files.place import locate
from resvae_ray.on_ray.cluster import ray_session

ANSWER_S = 120.0  # a machine has to load torch, perhaps from a slow disk
CLOCK_ASKED = 5  # times; the quickest answer counts


def examine_cluster(address: str = "", storage: str = "") -> list[Finding]:
    """Examines the machines of a cluster and returns all findings.

    Args:
        address: of a running Ray cluster, or "auto"; empty examines this machine, with a Ray of its own meanwhile.
        storage: the folder that RUN or LATENTS will be in; empty skips that check.

    Raises:
        UsageError: `storage` is nothing that can be opened.
        JobError: the cluster was lost meanwhile.
    """
    with _trial_folder(storage) as folder, ExitStack() as stack:
        try:
            stack.enter_context(ray_session(address))
        except JobError as error:
            return [Finding("ray", False, str(error), "start it with `ray up` or `ray start`; run this on its head")]
        from ray.exceptions import RayError

        try:
            return _examined(folder, storage)
        except RayError as error:
            raise JobError(f"Ray gave up: {first_line(error)}; run it again") from error


def _examined(folder: str, storage: str) -> list[Finding]:
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    resources = {node["NodeID"]: node["Resources"] for node in alive}
    names = _names(alive)
    examiners = {identity: _examiner(identity, names[identity], folder) for identity in resources}
    answers, silent = _asked({identity: it.examine.remote() for identity, it in examiners.items()})
    sees, late = _asked({it: examiners[it].seen.remote() for it in answers}) if folder else ({}, {})
    nodes = [
        ExaminedNode(names[it], resources[it], answers[it], _ahead(examiners[it]), sees.get(it, ()))
        for it in answers
        if it not in late
    ]
    missing = {names[it]: reason for it, reason in (silent | late).items()}
    return judge(nodes, missing, storage) if nodes else [judge_answers(nodes, missing)]


def _examiner(identity: str, name: str, folder: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    pinned = NodeAffinitySchedulingStrategy(identity, soft=False)
    return ray.remote(Examiner).options(num_cpus=0, scheduling_strategy=pinned).remote(name, folder)


def _asked(questions: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The answers, and the reasons for missing ones."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    answers, silent = {}, {}
    until = time.monotonic() + ANSWER_S
    for identity, question in questions.items():
        try:
            answers[identity] = ray.get(question, timeout=max(0.0, until - time.monotonic()))
        except GetTimeoutError:
            silent[identity] = f"no answer within {ANSWER_S:g} s"
        except RayError as error:
            silent[identity] = _reason(error)
    return answers, silent


def _reason(error: Exception) -> str:
    """The last meaningful line of the error from Ray."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line and not line.startswith("File")]
    return (telling or lines or [first_line(error)])[-1]


def _ahead(examiner: Any) -> float:
    """Seconds by which its clock is ahead of the one here, to within half the time of the quickest answer."""
    import ray

    best, found = float("inf"), 0.0
    for _ in range(CLOCK_ASKED):
        asked = time.time()
        [there] = ray.get([examiner.clock.remote()], timeout=ANSWER_S)
        took = time.time() - asked
        if took < best:
            best, found = took, there - asked - took / 2
    return found


def _names(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By Ray's id of a node: its host name, with the address where that does not tell them apart."""
    known = Counter(node["NodeManagerHostname"] for node in nodes)
    found = {}
    for node in nodes:
        host = node["NodeManagerHostname"]
        found[node["NodeID"]] = host if known[host] == 1 else f"{host} ({node['NodeID'][:8]})"
    return found


@contextmanager
def _trial_folder(storage: str) -> Iterator[str]:
    """A temporary folder below `storage` for the examination; empty if `storage` is empty."""
    if not storage:
        yield ""
        return
    filesystem, root = locate(storage)
    name = f".resvae-ray-doctor-{uuid.uuid4().hex[:12]}"
    remote = "://" in storage
    folder = f"{storage.rstrip('/')}/{name}" if remote else f"{root}/{name}"
    try:
        if not remote:
            _make(filesystem, folder)
        yield folder
    finally:
        _remove(filesystem, f"{root.rstrip('/')}/{name}")


def _make(filesystem: Any, folder: str) -> None:
    """Creates the folder. Ignores a failure here: the machines that cannot write into it report it."""
    try:
        filesystem.create_dir(folder, recursive=False)
    except OSError:
        return


def _remove(filesystem: Any, folder: str) -> None:
    try:
        filesystem.delete_dir(folder)
    except (OSError, ResVAERayError):
        return
