"""A missing cluster is reported at once."""

import socket
import time
from pathlib import Path

import pytest

from resvae_ray.errors import JobError
from resvae_ray.on_ray import cluster
from resvae_ray.on_ray.cluster import ray_session


@pytest.fixture
def no_ray(monkeypatch):
    """Fails where Ray itself would be asked, which takes minutes."""
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("asked Ray"))


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "ray://[::1]:{}"])
def test_no_server_at_the_address(address):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        address = address.format(taken.getsockname()[1])
        started = time.monotonic()
        with pytest.raises(JobError, match="no Ray cluster answers there") as caught, ray_session(address):
            pass
    assert address in str(caught.value)
    assert time.monotonic() - started < cluster.ANSWER_SECONDS + 2


@pytest.mark.usefixtures("no_ray")
def test_a_port_that_is_not_a_number():
    with pytest.raises(JobError, match="--address here:there: no Ray cluster answers there"), ray_session("here:there"):
        pass
    with pytest.raises(JobError, match="no Ray cluster answers there"), ray_session("[10.0.0.1:6379"):
        pass


def test_somebody_at_the_address_is_left_to_ray(monkeypatch, one_attempt):
    import ray

    from resvae_ray.on_ray import ray_internals

    def refuse(**_):
        raise ConnectionError("not Ray\nat all")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray_internals, "ANSWER_MS", 100)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(JobError, match=f"--address {address}: not Ray$"), ray_session(address):
            pass


def test_a_ray_that_does_not_start_is_reported_and_leaves_no_files(monkeypatch):
    """On a machine with twenty times the work that it can do, Ray raised a bare Exception after a minute."""
    import ray

    tried = []

    def fail(_temp_dir, **_):
        tried.append(Path(_temp_dir))
        raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(JobError, match="Ray does not start on this machine: The current node timed out"), ray_session():
        pass
    assert len(tried) == cluster.STARTS
    assert not tried[0].exists()
