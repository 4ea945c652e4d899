"""For all tests of reading data."""

import pytest

from resvae_ray.data import importers


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """One process per file takes a second and ignores monkeypatch; importers/test_apart.py tests that."""
    monkeypatch.setattr(importers, "APART", ())
