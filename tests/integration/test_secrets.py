"""Clients without a token are refused; no secret is written; the next start removes a killed driver's folder."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ONE_AT_A_TIME, finish, wait_for_epochs

from resvae_ray.on_ray.leftovers import processes_in

SECRET = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184"
CLUSTER = """
import ray, sys
here = ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])
print(here.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
DRIVER = """
import os, sys, time
from resvae_ray.on_ray.cluster import ray_session
from resvae_ray.errors import JobError
began, here = time.monotonic(), os.getcwd()

def on_path():
    import sys
    return here in sys.path

try:
    with ray_session(sys.argv[1]):
        import ray
        print("let in", ray.get(ray.remote(on_path).remote()))
except JobError as error:
    print("refused", round(time.monotonic() - began), error)
"""


def environment(place, token):
    """An environment with its own home folder, so that the user's token is not found."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    return bare | {"HOME": str(place)} | ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {})


@contextmanager
def cluster(folder, environment):
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(folder)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


@pytest.fixture
def short():
    """A folder with a name that leaves room for Ray's."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        yield Path(folder)


def test_a_driver_without_the_token_is_refused_at_once_and_none_brings_its_working_folder(tmp_path, short):
    with cluster(short, environment(tmp_path, SECRET)) as address:
        said = {}
        for token in (SECRET, "another" * 8, ""):
            command = [sys.executable, "-c", DRIVER, address]
            done = subprocess.run(
                command, env=environment(tmp_path, token), cwd=tmp_path, capture_output=True, text=True, timeout=200
            )
            said[token] = done.stdout.strip() or done.stderr
            assert not done.stderr, done.stderr
    assert said.pop(SECRET) == "let in False"
    for token, line in said.items():
        _, seconds, message = line.split(" ", 2)
        assert message.startswith(f"--address {address}: the cluster refuses this token, or asks for one"), token
        assert int(seconds) < 15, "Ray alone takes 20 s on an idle machine"
        assert SECRET not in line


def holding(folder):
    """The files that hold a secret."""
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_secrets_are_written_nowhere_and_a_killed_driver_leaves_nothing(
    tmp_path, short, make_dataset, write_config, start, monkeypatch
):
    for name in ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("TMPDIR", str(short))
    dataset, run = make_dataset(64, 8), tmp_path / "run"
    process = start("tune", dataset, run, "--config", write_config(ONE_AT_A_TIME))
    wait_for_epochs(run, 5, process)
    process.kill()
    process.wait()
    (left,) = short.glob("resvae-*")
    assert (left / "driver.lock").exists()
    assert list(left.rglob("*.log")) or list(left.rglob("*.out"))
    assert not holding(short)
    out, err = finish(start("tune", dataset, run, "--resume"))
    assert SECRET not in out + err
    assert not holding(run)
    assert not list(short.glob("resvae-*"))
    assert not processes_in(left)
