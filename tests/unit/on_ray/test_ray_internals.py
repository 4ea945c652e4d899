"""The private parts of Ray that a session uses are there, and do what they did in 2.60.

A failure here, after an update of Ray, names the part that has changed. Each test says what depends on it.
"""

# pyright: reportAttributeAccessIssue=false

import inspect
import os

import pytest
from ray._private import node, ray_constants, services, worker
from ray._raylet import AuthenticationTokenLoader, InnerGcsClient
from ray.job_config import JobConfig

from resvae_ray.on_ray import ray_internals
from resvae_ray.on_ray.ray_internals import WorkerPath, on_loopback, own_token


def test_ray_adds_folders_to_the_workers_path_where_we_say_that_there_is_a_working_folder():
    """Else files beside the data run in every worker."""
    assert JobConfig()._runtime_env_has_working_dir() is False, "JobConfig no longer has this hook"
    source = inspect.getsource(worker.connect)
    assert source.count("job_config._runtime_env_has_working_dir()") == 2, "ray.init decides about the path elsewhere"
    assert source.count("code_paths.append(") == 2, "ray.init adds other folders to the path"


def test_the_path_of_workers_is_the_one_given():
    job = WorkerPath(["/session/code"])
    assert job._runtime_env_has_working_dir() is True
    assert list(job._get_proto_job_config().py_driver_sys_path) == ["/session/code"], "Ray names the path otherwise"


def test_the_address_of_a_local_ray_is_loopback_for_as_long_as_its_session(monkeypatch):
    """Else a local Ray listens on all addresses of the machine."""
    monkeypatch.setenv(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "1")
    monkeypatch.setattr(worker, "_global_node", None)
    with on_loopback():
        assert services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1", "Ray finds the address otherwise"
        assert os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] == "0"
    assert os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] == "1"
    assert ray_constants.ENABLE_RAY_CLUSTER


@pytest.fixture
def no_token(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    ray_internals._read_token_again()
    yield tmp_path
    ray_internals._read_token_again()


def test_a_token_is_in_the_environment_alone_and_for_as_long_as_its_session(no_token):
    """Else Ray writes ~/.ray/auth_token, and does not start where it cannot."""
    loader = AuthenticationTokenLoader.instance()
    tokens = []
    for _ in range(2):
        with own_token():
            tokens.append(os.environ["RAY_AUTH_TOKEN"])
            assert os.environ["RAY_AUTH_MODE"] == "token"
            assert tokens[-1] in str(loader.get_token_for_http_header()), "Ray goes on with another token"
        assert not [name for name in os.environ if name.startswith("RAY_AUTH")]
        assert not loader.has_token(ignore_auth_mode=True)
    assert len(set(tokens)) == 2
    assert all(len(token) >= 32 for token in tokens)
    assert not list(no_token.iterdir())


def test_a_mode_and_token_of_the_user_come_back(no_token, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-the-user" * 4)
    with own_token():
        assert os.environ["RAY_AUTH_TOKEN"] != "of-the-user" * 4
    assert os.environ["RAY_AUTH_TOKEN"] == "of-the-user" * 4
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with own_token():
        assert os.environ["RAY_AUTH_TOKEN"] == "of-the-user" * 4
        assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_a_cluster_can_be_asked_whether_it_refuses_us(one_attempt):
    """Else --address takes half a minute, and does not say that a token is missing."""
    services.canonicalize_bootstrap_address("10.0.0.1:6379", None)
    with pytest.raises(Exception, match="GCS"):
        InnerGcsClient.standalone("127.0.0.1:1", None, 100)


def test_processes_can_be_killed_at_once():
    """Else the end of each command takes two seconds more."""
    assert "allow_graceful" in inspect.signature(node.Node.kill_all_processes).parameters
    assert hasattr(worker, "_global_node")
    assert "kill_all_processes(" in inspect.getsource(worker.shutdown)


def test_ray_reads_the_niceness_of_workers_from_the_environment():
    assert ray_constants.RAY_WORKER_NICENESS == "RAY_worker_niceness"
