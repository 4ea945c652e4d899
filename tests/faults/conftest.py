"""The process in which broken files are read, one for all tests."""

from collections.abc import Iterator

import pytest
from reader import Reader


@pytest.fixture(scope="session")
def reader() -> Iterator[Reader]:
    process = Reader()
    yield process
    process.close()
