"""The Ray that the work runs on: a running cluster, the one that the caller has started, or a local one meanwhile."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from resvae_ray.errors import JobError, first_line

# What Ray would otherwise do on its own: report usage over the network, write its own logs of each trial beside ours,
# turn a keyboard interrupt into a stop that the caller cannot see, complain about a GPU that is not asked for, and wait
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
ANSWER_SECONDS = 5.0
OBJECT_STORE_BYTES = 256 << 20  # ids and metrics pass through it, features do not


@contextmanager
def ray_session(address: str = "") -> Iterator[list[Mapping[str, float]]]:
    """What each node of the Ray to work on has. A Ray that the caller has started is used and left running.

    Args:
        address: of a running cluster, or "auto"; empty starts a local one, on loopback, and ends it afterwards.

    Raises:
        JobError: no cluster answers at `address`.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    started = not ray.is_initialized()
    if started:
        _start(address)
    try:
        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        if started:
            ray.shutdown()


def _start(address: str) -> None:
    import ray
    from ray.exceptions import RayError

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        _require_listener(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, RayError) as error:
            raise JobError(f"--address {address}: {first_line(error)}") from None
    else:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            **quiet,
        )


def _require_listener(address: str) -> None:
    """Ray itself would try for minutes to reach a cluster that is not there.

    Raises:
        JobError: nobody listens at the host and port of `address`.
    """
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        if place.hostname and place.port:
            socket.create_connection((place.hostname, place.port), ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:  # a ValueError is a port that is no number
        raise JobError(f"--address {address}: no Ray cluster answers there: {first_line(error)}") from None
