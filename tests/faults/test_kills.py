"""SIGKILL at random moments: to a whole flow, the driver of a search, a worker of a trial or of an encoding, a raylet.

A search that runs one trial at a time produces the very numbers and the very MODEL of an undisturbed one, whichever
process was killed, and an encoding produces the same bytes. All on one cluster of two nodes in this process; the
moment of each kill follows from the seed in the message of a failure.
"""

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from rounds import count, tries
from searches import ONE_AT_A_TIME, children, command_line, outcome

from resvae_ray.config import PROMOTE, STOP, TrainingConfig
from resvae_ray.config_file import config_to_toml
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.synthetic import PREFIX, synthetic_batches, write_synthetic_csv
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.errors import JobError
from resvae_ray.model.network import ResVAE
from resvae_ray.on_ray.cluster import RAY_SETTINGS
from resvae_ray.search.run.run import Run
from resvae_ray.search.study import frozen_trials
from resvae_ray.search.tune import tune

pytestmark = [pytest.mark.timeout(6 * 3600), pytest.mark.integration]
ROWS, DIM, FILES, TRIALS = 64, 16, 30, 4
CONFIG = replace(
    ONE_AT_A_TIME,
    training=TrainingConfig(epochs=9),
    search=replace(ONE_AT_A_TIME.search, trials=TRIALS, startup_trials=2),
)
CONFIGS = {each: replace(CONFIG, search=replace(CONFIG.search, scheduler=each)) for each in (STOP, PROMOTE)}
KILLS_A_RUN = 3  # of its driver, one after another
NOTICED_SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}


class Machines:
    """A head that does no work, and two nodes with a core each, as processes below this one."""

    def __init__(self) -> None:
        os.environ.update(RAY_SETTINGS)
        import ray
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": NOTICED_SOON}, shutdown_at_exit=True
        )
        self.nodes = [self._cluster.add_node(num_cpus=1) for _ in range(2)]
        self.address = self._cluster.address
        ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)

    def kill_raylet(self, draw: random.Random) -> bool:
        """Kills the raylet of one node; its workers end with it."""
        (raylet,) = draw.choice(self.nodes).all_processes["raylet"]
        os.kill(raylet.process.pid, signal.SIGKILL)
        return True

    def mend(self) -> None:
        """Replaces a lost node."""
        for node in [node for node in self.nodes if node.dead_processes()]:
            self.nodes.remove(node)
            self._cluster.remove_node(node, allow_graceful=False)
            self.nodes.append(self._another())

    def _another(self):
        """On a machine that has much to do, Ray gives up waiting for a node after half a minute."""
        with suppress(Exception):
            return self._cluster.add_node(num_cpus=1)
        return self._cluster.add_node(num_cpus=1)

    def close(self) -> None:
        """Ends them."""
        import ray

        ray.shutdown()
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def machines():
    started = Machines()
    yield started
    started.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    (folder / "features").mkdir()
    for number in range(FILES):
        with FeaturesWriter(folder / "features" / f"{number:02d}.parquet", DIM, {}) as writer:
            for batch in synthetic_batches(ROWS, DIM, number):
                writer.write(batch)
    split_features(folder / "features" / "00.parquet", folder / "dataset")
    for name, config in CONFIGS.items():
        (folder / f"{name}.toml").write_text(config_to_toml(config))
    torch.manual_seed(0)
    ResVAE(DIM, 16, 3).save_pretrained(folder / "model")
    return folder


@pytest.fixture(scope="module", params=CONFIGS)
def searched(request, machines, place):
    """A scheduler, an undisturbed search with it, and how long one takes."""
    tune(place / "dataset", place / f"first-{request.param}", CONFIGS[request.param])
    started = time.monotonic()
    undisturbed = tune(place / "dataset", place / f"undisturbed-{request.param}", CONFIGS[request.param])
    return request.param, undisturbed, time.monotonic() - started


@pytest.fixture(scope="module")
def encoded(machines, place):
    """An undisturbed encoding, and how long one takes."""
    encode_features(place / "model", place / "features", place / "first-latents")
    started = time.monotonic()
    encode_features(place / "model", place / "features", place / "latents")
    return content(place / "latents"), time.monotonic() - started


def content(folder):
    assert not [path for path in folder.rglob(".*") if not path.name.endswith(".crc")]
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def check(path, undisturbed, where):
    """Every trial once, none running, epochs without a gap, the best of all exported, all as undisturbed."""
    run, whole = Run.open(path), list(range(TRIALS))
    assert outcome(path) == outcome(undisturbed.path), where
    trials = frozen_trials(path / "study.journal", run.info["study"])
    assert [trial.number for trial in trials] == whole, where
    assert all(trial.state.is_finished() for trial in trials), where
    assert pd.read_csv(path / "trials.csv")["number"].tolist() == whole, where
    epochs = run.epochs()
    for _, rows in epochs.groupby("number"):
        assert rows["epoch"].tolist() == list(range(1, len(rows) + 1)), where
    exported = json.loads((path / "model" / "config.json").read_text())
    assert exported["best_val_loss"] == epochs["val_loss"].min(), where
    found, whole = (ResVAE.from_pretrained(place / "model").state_dict() for place in (path, undisturbed.path))
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items()), where
    assert not list(path.rglob(".*.partial*")), where


def begin(place, run, address, scheduler):
    """A driver in a process of its own."""
    flags = ["--resume"] if (run / "run.json").exists() else ["--config", str(place / f"{scheduler}.toml")]
    command = [sys.executable, "-m", "resvae_ray", "tune", str(place / "dataset"), str(run), *flags]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(
        [*command, "--address", address], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def close(process):
    """Lets go of what it said; a Ray process that it started may still hold the other end."""
    if process.stderr is not None:
        process.stderr.close()


def sessions(run):
    return len(json.loads((run / "run.json").read_text())["sessions"]) if (run / "run.json").exists() else 0


def kill_driver(process, run, before, wait_s):
    """Kills the driver this many seconds after its session began; returns whether it was still alive."""
    while sessions(run) == before and process.poll() is None:
        time.sleep(0.02)
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL


def test_driver(machines, place, searched):
    scheduler, undisturbed, seconds = searched
    kills, fates, number = tries(1, 30), Counter(), 0
    while fates["killed"] < kills:
        run, number = place / f"driver-{scheduler}-{number}", number + 1
        for kill in range(min(KILLS_A_RUN, kills - fates["killed"])):
            draw = random.Random(f"driver {number} {kill}")
            process = begin(place, run, machines.address, scheduler)
            killed = kill_driver(process, run, sessions(run), draw.uniform(0, seconds))
            assert killed or process.returncode == 0, (number, kill, process.communicate()[1])
            fates["killed" if killed else "ended before"] += 1
            close(process)
        process = begin(place, run, machines.address, scheduler)
        assert process.wait() == 0, (number, process.communicate()[1])
        close(process)
        check(run, undisturbed, ("driver", number))
        fates["runs"] += 1
    count(f"kills: driver, {scheduler}", fates)


def begin_flow(place, address):
    """A whole flow in a process of its own, without UMAP, which would compile itself for half a minute."""
    command = [sys.executable, "-m", "resvae_ray", "run", str(place / "proteins.csv"), str(place / "out")]
    command += ["--config", str(place / f"{STOP}.toml"), "--prefix", PREFIX, "--address", address]
    paths = os.pathsep.join([str(place / "without"), str(Path(__file__).resolve().parents[2])])
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def results(out):
    """All that a flow makes, by name, except for times: of the RUN its outcome, of the report that it is there."""
    whole = ("features.parquet", "check.json", "evaluation.json", "latents.parquet", "model/model.safetensors")
    files = [out / name for name in whole] + [path for path in (out / "dataset").rglob("*") if path.is_file()]
    assert (out / "report" / "report.html").is_file()
    assert not list(out.glob(".*"))
    return {str(path.relative_to(out)): path.read_bytes() for path in files}, outcome(out / "run")


@pytest.fixture(scope="module")
def flowed(machines, place):
    """The results of an undisturbed flow, and how long one takes."""
    (place / "without").mkdir()
    (place / "without" / "umap.py").write_text("raise ImportError('not in this test')\n")
    write_synthetic_csv(place / "proteins.csv", ROWS, DIM)
    started = time.monotonic()
    process = begin_flow(place, machines.address)
    assert process.wait() == 0, process.communicate()[1]
    close(process)
    return results(place / "out"), time.monotonic() - started


def test_flow(machines, place, flowed):
    """The same command, killed again and again, gives the same bytes."""
    expected, seconds = flowed
    kills, fates, number = tries(2, 10), Counter(), 0
    while fates["killed"] < kills:
        shutil.rmtree(place / "out")
        number += 1
        for kill in range(min(KILLS_A_RUN, kills - fates["killed"])):
            process = begin_flow(place, machines.address)
            try:
                process.wait(random.Random(f"flow {number} {kill}").uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
            killed = process.wait() == -signal.SIGKILL
            assert killed or process.returncode == 0, (number, kill, process.communicate()[1])
            fates["killed" if killed else "ended before"] += 1
            close(process)
        process = begin_flow(place, machines.address)
        assert process.wait() == 0, (number, process.communicate()[1])
        close(process)
        assert results(place / "out") == expected, ("flow", number)
        fates["flows"] += 1
    count("kills: flow", fates)


class Killer:
    """Kills, at a random moment of some work, one of its processes; waits for one to be there."""

    def __init__(self, kill, draw, seconds):
        self.killed, self._over = False, threading.Event()
        self._kill, self._wait_s = kill, draw.uniform(0, seconds)
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        self._over.wait(self._wait_s)
        while not self._over.is_set() and not self.killed:
            self.killed = self._kill()
            self._over.wait(0.01)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


def kill_worker(title):
    """Kills one of the worker processes; returns whether there was one."""
    found = [pid for pid in children(os.getpid()) if command_line(pid).startswith(title)]
    for pid in found[:1]:
        os.kill(pid, signal.SIGKILL)
    return bool(found)


def rounds(what, seconds, kill, work, mend=lambda: None):
    """Repeats `work` while `kill` kills, until there were enough kills."""
    fates, number = Counter(), 0
    while fates["killed"] < tries(1, 30):
        draw, number = random.Random(f"{what} {number}"), number + 1
        with Killer(lambda draw=draw: kill(draw), draw, seconds) as killer:
            fates[work(number)] += 1
        fates["killed" if killer.killed else "ended before"] += 1
        mend()
    count(f"kills: {what}", fates)


def search(place, scheduler, undisturbed, what):
    what = f"{what}-{scheduler}"

    def work(number):
        fate = "resumed by itself"
        try:
            tune(place / "dataset", place / f"{what}-{number}", CONFIGS[scheduler])
        except JobError:
            fate = "resumed with --resume"
            tune(place / "dataset", place / f"{what}-{number}", resume=True)
        check(place / f"{what}-{number}", undisturbed, (what, number))
        return fate

    return work


def encoding(place, expected, what):
    def work(number):
        latents, fate = place / f"{what}-{number}", "resumed by itself"
        try:
            rows = encode_features(place / "model", place / "features", latents)
        except JobError:
            fate = "resumed with the same command"
            rows = encode_features(place / "model", place / "features", latents)
        assert rows == ROWS * FILES, (what, number)
        assert content(latents) == expected, (what, number)
        return fate

    return work


def test_trial_worker(machines, place, searched):
    scheduler, undisturbed, seconds = searched
    work = search(place, scheduler, undisturbed, "trial-worker")
    rounds(f"trial worker, {scheduler}", seconds, lambda _: kill_worker("ray::ImplicitFunc"), work)


def test_encode_worker(machines, place, encoded):
    expected, seconds = encoded
    work = encoding(place, expected, "encode-worker")
    rounds("encode worker", seconds, lambda _: kill_worker("ray::MapBatches"), work)


def test_raylet_of_a_search(machines, place, searched):
    scheduler, undisturbed, seconds = searched
    work = search(place, scheduler, undisturbed, "raylet-search")
    rounds(f"raylet, search, {scheduler}", seconds, machines.kill_raylet, work, machines.mend)


def test_raylet_of_an_encoding(machines, place, encoded):
    expected, seconds = encoded
    work = encoding(place, expected, "raylet-encoding")
    rounds("raylet, encoding", seconds, machines.kill_raylet, work, machines.mend)
