"""Small problems: threads that wait for each other would cost more than the work."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from resvae_ray.evaluation import probe


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@pytest.fixture
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes with one strength per scaling, tuned once: their choice is tested in test_probe.py."""
    monkeypatch.setattr(probe, "MOST_REPEATS", 1)
    monkeypatch.setattr(probe, "STRENGTHS", {probe.STANDARD: (1.0,), probe.RATIOS: (10.0,)})
    monkeypatch.setattr(probe, "KERNEL_WIDTHS", (1.0,))
    monkeypatch.setattr(probe, "KERNEL_STRENGTHS", (10.0,))
