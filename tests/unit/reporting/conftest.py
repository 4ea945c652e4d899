"""Small problems: threads that wait for each other would cost more than the work; UMAP would compile itself."""

import importlib
from collections.abc import Iterator

import optuna.importance._ped_anova.scott_parzen_estimator  # noqa: F401
import pytest
import sklearn.linear_model
import sklearn.manifold  # noqa: F401
from threadpoolctl import threadpool_limits

from resvae_ray.model import latent_map

LOSSES = [90.0, 70.0, 75.0, 60.0, 50.0, 55.0, 45.0, 40.0, 41.0]
# Nine epochs at most, rungs at 1 and 3: five trials were stopped at the first, two at the second.
TRIALS = (
    [("complete", [loss + 3 * number for loss in LOSSES]) for number in range(4)]
    + [("pruned", [150.0 + number]) for number in range(5)]
    + [("pruned", [85.0, 80.0, 95.0 + number]) for number in range(2)]
    + [("failed", [88.0, 86.0])]
)


@pytest.fixture
def run_path(searched):
    return searched(TRIALS)


@pytest.fixture(autouse=True)
def no_umap(monkeypatch):
    """It compiles itself for half a minute; tests/integration has it."""

    def missing(name):
        if name == "umap":
            raise ModuleNotFoundError(name)
        return importlib.import_module(name)

    monkeypatch.setattr(latent_map, "importlib", type("without", (), {"import_module": staticmethod(missing)}))


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield
