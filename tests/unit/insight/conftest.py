import importlib

import pytest

from resvae_ray.insight import latent_figures

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

    monkeypatch.setattr(latent_figures, "importlib", type("without", (), {"import_module": staticmethod(missing)}))
