"""Shared by the benchmarks: measuring contenders in turn, so that a noisy machine is noisy for all of them alike."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "ray", "optuna", "pyarrow", "numpy")


def interleaved(
    contenders: Mapping[str, Callable[[], Any]], rounds: int = 5, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median seconds of each contender over `rounds` rounds, in which each runs once, after one for nothing.

    Args:
        clock: by default this process's CPU; `time.perf_counter` where other processes do the work.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            started = clock()
            run()
            if round_:
                seconds[name].append(clock() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


def verb(*arguments: object) -> None:
    """Runs a verb of the command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "resvae_ray", *map(str, arguments)], check=True, stdout=sys.stderr)


def report(question: str, **found: Any) -> None:
    """Prints a line of JSON: what was found, on which machine, with which versions, when."""
    machine = {"cores": os.cpu_count(), "processor": _processor(), "python": platform.python_version()}
    versions = {package: version(package) for package in PACKAGES}
    date = time.strftime("%Y-%m-%d", time.gmtime())
    print(json.dumps({"question": question, **found, "machine": machine, "versions": versions, "date": date}))


def _processor() -> str:
    source = Path("/proc/cpuinfo")
    lines = source.read_text().splitlines() if source.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
