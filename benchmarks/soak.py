"""Searches and encodings are started, stopped, killed and resumed for hours: nothing may grow or stay behind.

    python -m benchmarks.soak [--minutes 120] [--load 1] [--seed 0] [--rounds rounds.jsonl]

A round begins a small search in a process of its own, which is stopped by Ctrl-C, killed, or left to end, resumes with
it in this process to its end, and does the same with an encoding. Temporary files go to a folder of their own. After
each round it looks at this process (memory, open files), at all processes below it (the most memory meanwhile), and at
what is left: processes, temporary and half-written files, files in /dev/shm that no process uses. `--load` processes do
nothing but work meanwhile. Prints as JSON whether each number is flat over the rounds; exits with 1 if not. Sockets are
counted and not judged: a process that only starts and ends Ray 2.60 gains one in two to four times. Linux only.
"""

import argparse
import getpass
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import resvae_ray as rr
from benchmarks.measuring import report
from resvae_ray.config import Config, DataConfig, Domain, ResourcesConfig, SearchConfig, TrainingConfig
from resvae_ray.config_file import config_to_toml
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.synthetic import synthetic_batches
from resvae_ray.errors import JobError
from resvae_ray.on_ray.leftovers import processes_in

T = TypeVar("T")
DIM, ROWS, FILES = 16, 64, 6
TRIES, PAUSE_S = 20, 15.0
WARM_UP = 0.25  # of the rounds, in which libraries and caches are loaded: they say nothing about growth
# The growth over all rounds that counts as noise: a part of the median, plus this constant.
MAY_GAIN = {"driver_mb": (0.1, 16.0), "driver_files": (0.0, 1.0), "peak_mb": (0.1, 64.0), "shm_files": (0.0, 1.0)}
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only looked at
LEFT = ("processes", "temporary_files", "partial_files")  # of which nothing may be there after any round
CACHE = f"torchinductor_{getpass.getuser()}"  # one empty folder, PyTorch's, for all processes
ENDS = (signal.SIGINT, signal.SIGKILL, None)  # of the process that begins a round's work, in turn
SEARCH = Config(
    space={"z_dim": Domain(2, 4), "lr": Domain(1e-4, 1e-2, log=True)},
    training=TrainingConfig(hidden_dim=16, epochs=12),
    search=SearchConfig(trials=4, startup_trials=2, grace=4, checkpoint_every_s=0.0),
    resources=ResourcesConfig(concurrent=2, cpus_per_trial=1.0),
    data=DataConfig(mode="resident"),
)


def main() -> int:
    """Runs rounds until the time is over, prints what they came to, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--load", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=Path, default=Path("rounds.jsonl"))
    options = parser.parse_args()
    until, place = time.monotonic() + 60 * options.minutes, Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        _prepare(place)
        rounds: list[dict[str, Any]] = []
        with _load(options.load):
            while time.monotonic() < until:
                rounds.append(_round(place, len(rounds), random.Random(f"{options.seed} {len(rounds)}")))
                with options.rounds.open("a") as file:
                    file.write(json.dumps(rounds[-1]) + "\n")
        verdict = judge(rounds)
    finally:
        shutil.rmtree(place)
    report("soak", minutes=options.minutes, load=options.load, seed=options.seed, rounds=len(rounds), **verdict)
    return 0 if verdict["flat"] else 1


def _prepare(place: Path) -> None:
    (place / "t").mkdir()
    os.environ["TMPDIR"] = str(place / "t")
    tempfile.tempdir = None
    (place / "features").mkdir()
    for number in range(FILES):
        with FeaturesWriter(place / "features" / f"{number}.parquet", DIM, {}) as writer:
            for batch in synthetic_batches(ROWS, DIM, number):
                writer.write(batch)
    rr.split_features(place / "features" / "0.parquet", place / "dataset")
    (place / "search.toml").write_text(config_to_toml(SEARCH))


def _round(place: Path, number: int, draw: random.Random) -> dict[str, Any]:
    """Searches and encodes, each begun elsewhere and ended in this process; what is seen then."""
    run, latents, end = place / "run", place / "latents", ENDS[number % len(ENDS)]
    started, failures = time.monotonic(), list[str]()
    with _watching() as peak:
        begin = ("tune", place / "dataset", run, "--config", place / "search.toml")
        codes = [_begun(begin, end, run / "run.json", draw.uniform(0, 12))]
        found = _patiently(lambda: _searched(place, run), failures)
        begin = ("encode", run / "model", place / "features", latents)
        codes.append(_begun(begin, end, latents, draw.uniform(0, 4)))
        rows = _patiently(lambda: rr.encode_features(run / "model", place / "features", latents), failures)
    states = found.trials()["state"].tolist()
    if len(states) != SEARCH.search.most_trials or rows != ROWS * FILES or "running" in states:
        raise RuntimeError(f"round {number}: trials {states}, {rows} rows")
    seen = {"round": number, "end": end.name if end else "", "codes": codes, "s": round(time.monotonic() - started, 1)}
    seen |= {"failures": failures, "load": os.getloadavg()[0], "peak_mb": max(peak), **_look(place)}
    for folder in (run, latents):
        shutil.rmtree(folder)
    return seen


def _searched(place: Path, run: Path) -> rr.Run:
    if (run / "run.json").exists():
        return rr.tune(place / "dataset", run, resume=True)
    return rr.tune(place / "dataset", run, place / "search.toml")


def _patiently(work: Callable[[], T], failures: list[str]) -> T:
    """Does it again where it fails and says so, as its user would: Ray may not start on a machine with much to do."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except JobError as error:
            failures.append(str(error))
            time.sleep(PAUSE_S)
    return work()


def _begun(arguments: Sequence[object], end: signal.Signals | None, sign: Path, wait_s: float) -> int:
    """Begins a verb and ends it some time after `sign` has come to be; its exit code."""
    command = [sys.executable, "-m", "resvae_ray", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if end:
        while process.poll() is None and not sign.exists():
            time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        process.send_signal(end)
    return process.wait()


def _look(place: Path) -> dict[str, Any]:
    temporary = sorted(str(path.relative_to(place / "t")) for path in (place / "t").rglob("*") if path.name != CACHE)
    half = sorted(str(path.relative_to(place)) for path in place.rglob(".*.part*"))
    opened = list(_opened())
    return {
        "driver_mb": _resident_mb(os.getpid()),
        "driver_files": len(opened) - opened.count("socket"),
        "driver_sockets": opened.count("socket"),
        "shm_files": _orphans(),
        "processes": len(_below(os.getpid())) - len(multiprocessing.active_children()) + len(processes_in(place)),
        "temporary_files": len(temporary),
        "partial_files": len(half),
        "names_of_files_left": (temporary + half)[:20],
    }


def judge(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether each number is flat, by the median of the slopes between all pairs of rounds (Theil and Sen)."""
    found: dict[str, Any] = {}
    for name, (part, most) in MAY_GAIN.items():
        values = np.array([seen[name] for seen in rounds], float)[int(WARM_UP * len(rounds)) :]
        first, second = np.triu_indices(len(values), 1)
        slope = float(np.median((values[second] - values[first]) / (second - first))) if len(first) else 0.0
        gain, median = slope * len(values), float(np.median(values))
        found[name] = {"median": round(median, 2), "gain": round(gain, 2), "flat": gain <= max(part * median, most)}
    found["driver_sockets"] = [rounds[0]["driver_sockets"], rounds[-1]["driver_sockets"]]
    found |= {name: max(seen[name] for seen in rounds) for name in LEFT}
    found["failures"] = sum(len(seen["failures"]) for seen in rounds)
    return found | {"flat": all(found[name]["flat"] for name in MAY_GAIN) and not any(found[name] for name in LEFT)}


@contextmanager
def _load(count: int) -> Iterator[None]:
    busy = [multiprocessing.Process(target=_work, daemon=True) for _ in range(count)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.join()


def _work() -> None:
    while True:
        pass


@contextmanager
def _watching(every_s: float = 2.0) -> Iterator[list[float]]:
    """The memory of all processes below this one, in MB, looked at so often."""
    seen, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(every_s):
            seen.append(sum(map(_resident_mb, _below(os.getpid()))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _below(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = [], {pid}
    while new := {child for child, parent in parents.items() if parent in new}:
        found += new
    return found


def _opened() -> Iterator[str]:
    """The open files of this process: "socket", "pipe", a path."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            yield os.readlink(descriptor).partition(":")[0]


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:  # ended meanwhile
        return 0.0


def _orphans() -> int:
    """Files in /dev/shm that no process has mapped."""
    used = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            used |= set(re.findall(f"{SHARED_MEMORY}/(\\S+)", (entry / "maps").read_text()))
    return len(set(os.listdir(SHARED_MEMORY)) - used)


if __name__ == "__main__":
    sys.exit(main())
