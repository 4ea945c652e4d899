"""The private parts of Ray 2.60 that a session needs, since no public part does the same.

tests/unit/on_ray/test_ray_internals.py says which of them a new version of Ray has changed.
"""

# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false

import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from ray._private import ray_constants, services
from ray._private import worker as ray_worker
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._raylet import AuthenticationTokenLoader, Config, InnerGcsClient
from ray.exceptions import AuthenticationError
from ray.job_config import JobConfig

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105 - the variable's name
TOKEN_BYTES = 32
CLUSTERS = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
STDERR = 2
ANSWER_MS = 5000  # for a cluster to refuse a token


class WorkerPath(JobConfig):
    """The job of a driver whose working folder and script folder are not on its workers' import path.

    Ray puts both in front of the installed packages, unless the job has a runtime environment with a working folder.

    Args:
        folders: to put there instead.
    """

    def __init__(self, folders: Sequence[str] = ()) -> None:
        super().__init__(_py_driver_sys_path=list(folders))

    def _runtime_env_has_working_dir(self) -> bool:
        return True


@contextmanager
def own_token() -> Iterator[None]:
    """A new token for a local Ray, in the environment alone.

    Without one Ray writes ~/.ray/auth_token, readable by all. RAY_AUTH_MODE=disabled is left as it is.
    """
    if os.environ.get(MODE, "token").lower() != "token":
        yield
        return
    before = {name: os.environ.get(name) for name in (MODE, TOKEN)}
    os.environ.update({MODE: "token", TOKEN: secrets.token_hex(TOKEN_BYTES)})
    _read_token_again()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        _read_token_again()


@contextmanager
def on_loopback() -> Iterator[None]:
    """All processes of a local Ray that starts meanwhile listen on loopback alone.

    On Linux, Ray takes the address of the machine for 127.0.0.1 and listens on all of them. On systems for which it has
    no clusters it uses loopback, and this makes it take Linux for one of these.
    """
    clusters, setting = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(CLUSTERS)
    ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment when Ray is imported
    os.environ[CLUSTERS] = "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        os.environ.pop(CLUSTERS) if setting is None else os.environ.update({CLUSTERS: setting})


def _read_token_again() -> None:
    """Ray reads mode and token once per process."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def is_refused(address: str) -> bool:
    """Whether the cluster at `address` asks for a token, and this process has not the right one.

    ray.init would try for half a minute, and not say why it failed.

    Raises:
        ConnectionError: `address` is "auto", and no cluster runs on this machine.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address == "auto":
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as ray.init does
    place = services.canonicalize_bootstrap_address(address, None)
    with _silent():
        try:
            InnerGcsClient.standalone(place, None, ANSWER_MS)
        except AuthenticationError:
            return True
        except Exception:  # ray.init will say
            return False
    return False


@contextmanager
def _silent() -> Iterator[None]:
    """Ray's C++ code writes to the process's stderr."""
    kept, nowhere = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDERR)
    try:
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(nowhere)


def kill_at_shutdown() -> None:
    """Makes ray.shutdown end the processes of a local Ray with SIGKILL.

    Ray would send SIGTERM, which they do not get (see cluster.py), and wait a second for each.
    """
    if node := ray_worker._global_node:
        node.kill_all_processes = partial(_killed_at_once, node.kill_all_processes)


def _killed_at_once(kill_all, **how) -> None:  # noqa: ANN001, ANN003 (a bound method of Ray and its options)
    kill_all(**(how | {"allow_graceful": False}))
