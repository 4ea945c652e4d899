"""Affinity and CPU quotas bound the cores that count."""

import os
import subprocess
import sys

import pytest

from resvae_ray.on_ray import cores


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Writes control groups: what /proc/self/cgroup says, and files below /sys/fs/cgroup. The machine has 64 cores."""
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def v1(folder, quota, period=100_000):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 64),
        ("0::/user.slice/job.scope\n", {"user.slice/job.scope/cpu.max": "300000 100000\n"}, 3),
        (
            "0::/a/b\n",
            {"cpu.max": "max 100000", "a/cpu.max": "200000 100000\n", "a/b/cpu.max": "800000 100000\n"},
            2,
        ),
        ("0::/only/the/host/has/it\n", {"cpu.max": "100000 50000\n"}, 2),
        ("4:cpu,cpuacct:/\n0::/\n", v1("cpu,cpuacct", 300_000), 3),
        ("4:cpu:/\n0::/\n", v1("cpu", -1), 64),
        ("4:cpu:/\n0::/\n", v1("cpu", 50_000), 1),
        ("4:cpu,cpuacct:/docker/0f3a\n", v1("cpu", 200_000), 2),
        ("4:cpu:/job\n", v1("cpu/job", 200_000, 50_000), 4),
        ("2:cpuacct:/\n3:cpuset:/\n", v1("cpuacct", 200_000), 64),
        ("4:cpu:/\n0::/\n", {"unified/cpu.max": "200000 100000"}, 2),
        ("", {}, 64),
        ("0::/\n", {"cpu.max": "damaged"}, 64),
    ],
)
def test_the_smallest_quota_around_the_process_counts(cgroups, own, files, expected):
    cgroups(own, **files)
    assert cores.usable_cores() == expected


def test_affinity_counts_where_it_is_smaller_than_the_quota(cgroups, monkeypatch):
    cgroups("0::/\n", **{"cpu.max": "800000 100000\n"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 9})
    assert cores.usable_cores() == 3


def test_affinity_of_a_real_process():
    one = min(os.sched_getaffinity(0))
    code = f"import os, resvae_ray.on_ray.cores as c; os.sched_setaffinity(0, {{{one}}}); print(c.usable_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_libraries_run_no_more_threads_than_the_quota_allows_and_workers_get_their_own_number(cgroups, monkeypatch):
    monkeypatch.delenv(cores.THREADS, raising=False)
    cgroups("0::/\n", **{"cpu.max": "200000 100000\n"})
    with cores.bounded_threads():
        assert os.environ[cores.THREADS] == "2"
        with cores.threads_of_workers():
            assert cores.THREADS not in os.environ
        assert os.environ[cores.THREADS] == "2"
    assert cores.THREADS not in os.environ


def test_a_number_of_threads_that_the_user_has_set_stays(cgroups, monkeypatch):
    monkeypatch.setenv(cores.THREADS, "7")
    cgroups("0::/\n", **{"cpu.max": "200000 100000\n"})
    with cores.bounded_threads(), cores.threads_of_workers():
        assert os.environ[cores.THREADS] == "7"


def test_without_a_quota_libraries_count_for_themselves(cgroups, monkeypatch):
    monkeypatch.delenv(cores.THREADS, raising=False)
    cgroups("0::/\n", **{"cpu.max": "max 100000\n"})
    with cores.bounded_threads():
        assert cores.THREADS not in os.environ
