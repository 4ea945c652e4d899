"""The Ray that the work runs on: a running cluster, the one that the caller has started, or a local one meanwhile."""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import resvae_ray
from resvae_ray.errors import JobError, first_line
from resvae_ray.on_ray.cores import threads_of_workers, usable_cores
from resvae_ray.on_ray.leftovers import session_folder

# Ray would otherwise: report usage over the network, write its own logs of each trial beside ours,
# turn a keyboard interrupt into a stop that the caller cannot see, warn about a GPU that is not requested, and wait
# seven minutes for what a task did on a machine that has been cut off.
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_grpc_client_keepalive_time_ms": "70000",  # more often than once a minute, and the other side hangs up
    "RAY_grpc_client_keepalive_timeout_ms": "30000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "300",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
ANSWER_SECONDS = 5.0
STARTS = 3  # tries to start a local Ray
OBJECT_STORE_BYTES = 256 << 20  # ids and metrics pass through it, features do not
WORKER_NICENESS = 15  # of workers, the driver's included; at 19 a trial hardly runs beside other work
CLIENT = "ray://"
CODE = "code"  # in the session's folder, with a link to this package
# Sent to a whole process group, or to all processes of a service, they are for the driver, which ends the others.
DRIVER_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ray_session(address: str = "") -> Iterator[list[Mapping[str, float]]]:
    """The resources of each Ray node. If the caller has started Ray, uses it and leaves it running.

    Args:
        address: of a running cluster, or "auto"; empty starts a local one, on loopback, and ends it afterwards.

    Raises:
        JobError: no cluster answers at `address`, or a local Ray does not start.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_worker_niceness", str(max(0, WORKER_NICENESS - max(0, os.nice(0)))))
    import ray

    with ExitStack() as stack:
        if not ray.is_initialized():
            stack.enter_context(_joined(address) if address else _local())
        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def _joined(address: str) -> Iterator[None]:
    import ray
    from ray.exceptions import RayError

    _require_listener(address)
    try:
        with _signals_for_driver():
            if address.startswith(CLIENT):
                ray.init(address=address, **QUIET)
            else:
                from resvae_ray.on_ray.ray_internals import WorkerPath

                _require_token(address)
                ray.init(address=address, job_config=WorkerPath(), **QUIET)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        raise JobError(f"--address {address}: {first_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _local() -> Iterator[None]:
    import ray

    from resvae_ray.on_ray.ray_internals import kill_at_shutdown, on_loopback, own_token

    with session_folder() as folder, own_token(), on_loopback():
        (folder / CODE).mkdir()
        (folder / CODE / resvae_ray.__name__).symlink_to(Path(resvae_ray.__file__).resolve().parent)
        try:
            with _signals_for_driver(), threads_of_workers():
                _start(folder)
            kill_at_shutdown()
            yield
        finally:
            ray.shutdown()


def _start(folder: Path) -> None:
    """On a busy machine, Ray stops waiting for its own start after 30 seconds, with a bare Exception."""
    import ray

    from resvae_ray.on_ray.ray_internals import WorkerPath

    for left in reversed(range(STARTS)):
        try:
            ray.init(
                address="local",
                num_cpus=usable_cores(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                job_config=WorkerPath([str(folder / CODE)]),
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
                **QUIET,
            )
            return
        except Exception as error:
            ray.shutdown()
            if not left:
                raise JobError(
                    f"Ray does not start on this machine: {first_line(error)}; try the same command again"
                ) from error


@contextmanager
def _signals_for_driver() -> Iterator[None]:
    """While Ray starts: its processes do not get DRIVER_SIGNALS, and the caller's handler of SIGTERM comes back.

    Ray's processes would end before the driver, whose Ray library then waits a minute for them and exits with 1. Ray
    keeps Ctrl-C from them in the same way. And ray.init leaves a handler of SIGTERM that aborts the driver: a signal
    that arrives meanwhile is delivered when that handler is gone.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DRIVER_SIGNALS)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _require_token(address: str) -> None:
    """
    Raises:
        JobError: the cluster asks for another token than this process has.
    """
    from resvae_ray.on_ray.ray_internals import is_refused

    if is_refused(address):
        raise JobError(
            f"--address {address}: the cluster refuses this token, or asks for one; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or ~/.ray/auth_token to the cluster's token"
        )


def _require_listener(address: str) -> None:
    """Ray itself would try for minutes to reach a cluster that is not there.

    Raises:
        JobError: no process listens at the host and port of `address`.
    """
    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        if place.hostname and place.port:
            socket.create_connection((place.hostname, place.port), ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:  # a ValueError means that the port is not a number
        raise JobError(f"--address {address}: no Ray cluster answers there: {first_line(error)}") from None
