"""Fixtures for all tests: small data sets, the yardstick beside the checkout, a quiet torch."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from resvae_ray.data.features import FeaturesWriter
from resvae_ray.data.split import split_features
from resvae_ray.data.synthetic import synthetic_batches

HANG_S = 40  # a unit test takes 5 s at most on an idle machine; one that takes so long hangs
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.integration)
        elif item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(HANG_S))


@pytest.fixture
def shared() -> Path:
    """Real features and the method's own text, which lie beside the checkout where it is developed."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}, which is not part of the project")
    return SHARED


@pytest.fixture
def reference_class(shared: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """The class of the method's own text."""
    monkeypatch.syspath_prepend(str(shared / "seed"))
    from reference import load_reference_class

    yield load_reference_class()
    sys.modules.pop("reference", None)


@pytest.fixture
def make_features(tmp_path: Path) -> Callable[..., Path]:
    """Writes FEATURES of `rows` synthetic proteins with `dim` numbers."""

    def make(rows: int = 60, dim: int = 12, name: str = "features.parquet", seed: int = 0) -> Path:
        path = tmp_path / name
        with FeaturesWriter(path, dim, {"model": "SYNTHETIC"}) as writer:
            for batch in synthetic_batches(rows, dim, seed):
                writer.write(batch)
        return path

    return make


@pytest.fixture
def make_dataset(make_features: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes a DATASET of `rows` synthetic proteins with `dim` numbers."""

    def make(rows: int = 100, dim: int = 12, name: str = "dataset", seed: int = 0) -> Path:
        features = make_features(rows, dim, f"{name}.parquet", seed)
        return split_features(features, tmp_path / name).path

    return make


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def matrix() -> np.ndarray:
    """(20, 6) float32."""
    return np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
