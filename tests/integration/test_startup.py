"""A local Ray uses only the resources open to this process, leaves the home folder alone, and runs no user file."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ONE_AT_A_TIME

from resvae_ray.search.callbacks.tensorboard_server import tensorboard_server
from resvae_ray.search.run.run import Run

FACTS = """
import json, os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.nice(int(sys.argv[1]))
from resvae_ray.on_ray.cluster import ray_session

def facts():
    import os, sys, resvae_ray
    return {
        "path": sys.path,
        "package": os.path.realpath(resvae_ray.__file__),
        "niceness": os.nice(0),
        "asks for a token": os.environ["RAY_AUTH_MODE"],
    }

def listening():
    import psutil

    driver = psutil.Process()
    sockets = [socket for process in (driver, *driver.children(recursive=True)) for socket in process.net_connections()]
    return sorted({socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN})

with ray_session() as nodes:
    import ray
    print(json.dumps(ray.get(ray.remote(facts).remote()) | {
        "CPU": sum(node["CPU"] for node in nodes),
        "addresses": listening(),
    }))
"""


def shadows(folder):
    """A folder of a user, with modules that have the names of others and cannot be imported."""
    folder.mkdir()
    for name in ("statistics", "timeit", "pandas", "optuna", "tensorboard"):
        (folder / f"{name}.py").write_text(f"open(r'{folder}/was_run', 'a').write(__file__)\nraise SystemExit(3)\n")
    (folder / "resvae_ray").mkdir()
    (folder / "resvae_ray/__init__.py").write_text((folder / "pandas.py").read_text())
    return folder


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """Facts from a worker on one core, with a read-only home, under `nice`, in a folder with shadowing modules."""
    folder = shadows(tmp_path_factory.mktemp("user") / "work")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    command = [sys.executable, "-P", "-c", FACTS, "4"]
    done = subprocess.run(
        command, cwd=folder, env=bare | {"HOME": "/dev/null"}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"folder": str(folder)}


def test_ray_has_the_cores_that_the_process_may_use(facts):
    assert facts["CPU"] == 1


def test_workers_import_the_package_of_the_driver_and_nothing_from_the_working_folder(facts):
    import resvae_ray

    assert facts["folder"] not in facts["path"]
    assert facts["package"] == os.path.realpath(resvae_ray.__file__)
    assert not (Path(facts["folder"]) / "was_run").exists()


def test_all_processes_listen_on_loopback_alone(facts):
    assert facts["addresses"]
    assert {address.removeprefix("::ffff:") for address in facts["addresses"]} == {"127.0.0.1"}


def test_a_token_is_asked_for_without_a_home(facts):
    assert facts["asks for a token"] == "token"


def test_workers_of_a_nice_driver_are_not_nicer_than_others(facts):
    assert facts["niceness"] == 15


def test_the_command_line_in_a_folder_with_other_modules(make_dataset, write_config, tmp_path):
    """TMPDIR is relative and the home folder is missing."""
    folder, dataset = shadows(tmp_path / "work"), make_dataset(64, 8)
    config = write_config(ONE_AT_A_TIME)
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as place:
        command = [Path(sys.executable).with_name("resvae-ray"), "tune", dataset, tmp_path / "run", "--config", config]
        bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [*command, "--trials", "2", "--epochs", "2"],
            cwd=folder,
            env=bare | {"HOME": "/dev/null", "TMPDIR": os.path.relpath(place, folder)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        assert os.listdir(place) == []
    assert not (folder / "was_run").exists()
    losses = Run.open(tmp_path / "run").trials().best_val_loss
    assert len(losses) == 2
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_process_group_of_a_command(number, start, monkeypatch):
    """It ends like Ctrl-C, and nothing is left; Ray alone would end it with 15."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        process = start("doctor")
        for _ in range(1200):
            if list(Path(place).glob("resvae-*/session_latest/logs/raylet.out")):
                break
            time.sleep(0.1)
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert err == "resvae-ray: interrupted; nothing half-written is left, run the same command again\n"
        assert os.listdir(place) == []


def test_tensorboard_imports_nothing_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(shadows(tmp_path / "work"))
    with tensorboard_server(tmp_path) as address:
        assert address
    assert not Path("was_run").exists()
