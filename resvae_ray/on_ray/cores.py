"""Number of cores that this process may use, from its CPU affinity and the CPU quotas of its control groups."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

THREADS = "OMP_NUM_THREADS"  # read by torch, Arrow and BLAS when they are loaded
BOUNDED = "RESVAE_RAY_BOUNDED"  # set where THREADS is not the user's
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """The whole cores that this process may use, at least one.

    Slurm, `taskset` and cpusets set an affinity; `docker --cpus`, Kubernetes limits and systemd's CPUQuota set a quota.
    A quota of less than one core counts as one, since every worker needs one.
    """
    return max(1, int(min(_affinity(), *_quotas(), float("inf"))))


@contextmanager
def bounded_threads() -> Iterator[None]:
    """Libraries that are loaded meanwhile run no more threads than there are usable cores.

    By themselves they count the affinity alone. Threads beyond a quota use it up at once, and then all wait.
    """
    bounded = THREADS not in os.environ and usable_cores() < _affinity()
    if not bounded:
        yield
        return
    with _set(THREADS, str(usable_cores())), _set(BOUNDED, "1"):
        yield


@contextmanager
def threads_of_workers() -> Iterator[None]:
    """Processes that are started meanwhile are not bounded by `bounded_threads`: Ray gives each its own number."""
    if BOUNDED not in os.environ:
        yield
        return
    with _set(THREADS, None), _set(BOUNDED, None):
        yield


@contextmanager
def _set(name: str, value: str | None) -> Iterator[None]:
    """Sets an environment variable meanwhile; None removes it."""
    before = os.environ.pop(name, None)
    try:
        if value is not None:
            os.environ[name] = value
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """The CPU quota, in cores, of each control group around this process that has one."""
    for folder, names in _cgroup_folders():
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            cores = int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # no such group is mounted here, or its quota is "max"
            continue
        if cores > 0:  # -1 means no quota
            yield cores


def _cgroup_folders() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folder of each group, from its own up to the root, with the files that hold quota and period.

    A container often sees its group at the root, under a path that only the host has.
    """
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        own = PurePosixPath(path.strip().lstrip("/"))
        groups = [own, *own.parents]
        if not controllers:  # version 2
            for root in (CGROUPS, CGROUPS / "unified"):
                yield from ((root / group, ("cpu.max",)) for group in groups)
        elif "cpu" in controllers.split(","):
            for group in groups:
                yield CGROUPS / controllers / group, ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                yield CGROUPS / "cpu" / group, ("cpu.cfs_quota_us", "cpu.cfs_period_us")
