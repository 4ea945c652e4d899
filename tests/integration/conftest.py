"""One Ray for all tests in this process, with four simulated GPUs; searches sized for two cores."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from searches import ONE_AT_A_TIME as ONE_AT_A_TIME
from searches import SMALL as SMALL
from searches import children as children
from searches import command_line as command_line
from searches import finish as finish
from searches import outcome as outcome
from searches import wait_for_epochs as wait_for_epochs

from resvae_ray.config import Config
from resvae_ray.config_file import config_to_toml
from resvae_ray.on_ray.cluster import RAY_SETTINGS
from resvae_ray.search import resources


@pytest.fixture(scope="session")
def ray_ends() -> Iterator[None]:
    """Ends a Ray of `ray_here` with the tests of this process."""
    yield
    import ray

    ray.shutdown()


@pytest.fixture(scope="module")
def ray_here(ray_ends: None) -> None:
    """A Ray in this process, which `tune` and `encode_features` then use. It stays for the modules that follow."""
    os.environ.update(RAY_SETTINGS)
    import ray

    if not ray.is_initialized():
        ray.init(
            address="local",
            num_cpus=4,
            num_gpus=4,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=256 << 20,
        )


@pytest.fixture(scope="module")
def one_trial_at_a_time() -> Iterator[None]:
    """For searches that leave the number to the machine: each further worker imports PyTorch for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources, "_target", lambda *_: 1)
        patch.setattr(resources, "_cpu_share", lambda *_: 1.0)
        yield


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[[Config], Path]:
    def write(config: Config) -> Path:
        path = tmp_path / "search.toml"
        path.write_text(config_to_toml(config))
        return path

    return write


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `resvae-ray` with arguments, as a process and a process group of its own."""
    started: list[subprocess.Popen] = []

    def begin(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "resvae_ray", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_heed_signals,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _heed_signals() -> None:
    """As in a terminal: tests that run in the background or under nohup hand on that signals are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
