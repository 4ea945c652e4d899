"""For all tests of reading data."""

import pytest

from resvae_ray.data import importers


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """A process a file takes a second, and sees no monkeypatch; importers/test_apart.py is about that."""
    monkeypatch.setattr(importers, "APART", ())
