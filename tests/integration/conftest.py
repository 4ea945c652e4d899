"""One Ray for all tests in this process, with four GPUs that it only believes in; searches for two cores."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from resvae_ray.cluster import RAY_SETTINGS
from resvae_ray.config import Config, DataConfig, Domain, ResourcesConfig, SearchConfig, TrainingConfig
from resvae_ray.config_file import config_to_toml
from resvae_ray.search.run import Run

SMALL = Config(
    name="small",
    space={"z_dim": Domain(2, 6), "hidden_dim": Domain(8, 32), "lr": Domain(1e-4, 3e-2, log=True)},
    training=TrainingConfig(epochs=9),
    search=SearchConfig(trials=8, startup_trials=4, grace=2, reduction_factor=2.0, checkpoint_every_s=0.0),
    resources=ResourcesConfig(concurrent=2, cpus_per_trial=1.0),
    data=DataConfig(mode="resident"),
)
ONE_AT_A_TIME = replace(SMALL, resources=replace(SMALL.resources, concurrent=1))


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A Ray in this process, which `tune` and `encode_features` then use."""
    os.environ.update(RAY_SETTINGS)
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=256 << 20,
    )
    yield
    ray.shutdown()


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[[Config], Path]:
    def write(config: Config) -> Path:
        path = tmp_path / "search.toml"
        path.write_text(config_to_toml(config))
        return path

    return write


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `resvae-ray` with arguments, as a process of its own."""
    started: list[subprocess.Popen] = []

    def begin(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "resvae_ray", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen) -> tuple[str, str]:
    """What a process that has to succeed printed."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out, err


def wait_for_epochs(run: Path, count: int, process: subprocess.Popen) -> None:
    """Until the search in `run` has recorded so many epochs."""
    for _ in range(2000):
        assert process.poll() is None, process.communicate()[1]
        path = run / "epochs.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{run} did not come to {count} epochs")


def outcome(run: Path) -> list[tuple]:
    """What a search came to, without what the clock says: state, parameters and every epoch's losses of each trial."""
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
