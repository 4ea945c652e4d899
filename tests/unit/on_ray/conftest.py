"""A Ray client that does not wait for an address without a cluster."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def one_attempt() -> Iterator[None]:
    """Ray tries an address once, instead of for five seconds."""
    from ray._raylet import Config

    Config.initialize('{"gcs_rpc_server_connect_timeout_s": 0}')
    yield
    Config.initialize("")
