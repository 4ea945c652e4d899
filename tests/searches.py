"""Searches for two cores, their outcomes, and the processes that run them."""

import subprocess
import time
from dataclasses import replace
from pathlib import Path

from resvae_ray.config import Config, DataConfig, Domain, ResourcesConfig, SearchConfig, TrainingConfig
from resvae_ray.search.run.run import Run

SMALL = Config(
    name="small",
    space={"z_dim": Domain(2, 6), "hidden_dim": Domain(8, 32), "lr": Domain(1e-4, 3e-2, log=True)},
    training=TrainingConfig(epochs=9),
    search=SearchConfig(trials=8, startup_trials=4, grace=2, reduction_factor=2.0, checkpoint_every_s=0.0),
    resources=ResourcesConfig(concurrent=2, cpus_per_trial=1.0),
    data=DataConfig(mode="resident"),
)
ONE_AT_A_TIME = replace(SMALL, resources=replace(SMALL.resources, concurrent=1))


def outcome(run: Path) -> list[tuple]:
    """The outcome of a search without times: each trial's state, parameters and losses per epoch."""
    timeless = ("epoch", "train_loss", "val_loss", "best_val_loss", "best_epoch", "r2")
    return [
        (record.number, record.state, record.params, [tuple(row[name] for name in timeless) for row in record.epochs])
        for record in Run.open(run).records()
    ]


def children(pid: int) -> list[int]:
    """All processes below `pid`."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found, new = [], {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found += new
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def finish(process: subprocess.Popen) -> tuple[str, str]:
    """Waits for a process that must succeed and returns its output."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out, err


def wait_for_epochs(run: Path, count: int, process: subprocess.Popen) -> None:
    """Waits until the search in `run` has recorded this number of epochs."""
    for _ in range(2000):
        assert process.poll() is None, process.communicate()[1]
        path = run / "epochs.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{run} did not come to {count} epochs")
