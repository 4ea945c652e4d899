"""Fixtures for all tests: small data sets, the yardstick beside the checkout, a quiet torch."""

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.synthetic import synthetic_batches

HANG_S = 40  # a unit test takes up to 5 s on an idle machine; past this limit it hangs
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.integration)
        elif item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(HANG_S))


@pytest.fixture
def shared() -> Path:
    """Real features and the method's own text, which are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}, which is not part of the project")
    return SHARED


@pytest.fixture
def reference_class(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """The class of the method's own text."""
    monkeypatch.syspath_prepend(str(shared / "seed"))
    from reference import load_reference_class  # pyright: ignore[reportMissingImports]

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
        return cast(Path, split_features(features, tmp_path / name).path)

    return make


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def matrix() -> np.ndarray:
    """(20, 6) float32."""
    return np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)


@pytest.fixture
def searched(make_dataset: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes a RUN as a search would leave it, without running a search.

    A trial is its state and its validation losses, an epoch of a second each, one trial after another on `node-a`. The
    search is one of `of` trials, or of as many as there are.
    """
    from dataclasses import replace

    from resvae_ray import names
    from resvae_ray.config import Config, Domain, SearchConfig
    from resvae_ray.data.dataset import Dataset
    from resvae_ray.model.network import ResVAE
    from resvae_ray.search.run.run import Run
    from resvae_ray.search.study import open_study

    def write(
        trials: list[tuple[str, list[float]]], *, of: int = 2, rows: int = 60, model: bool = True, **more
    ) -> Path:
        space = {"z_dim": Domain(2, 6), "lr": Domain(1e-4, 1e-2, log=True)} | more
        config = Config(
            space=space,
            training=replace(Config().training, epochs=9),
            search=SearchConfig(trials=max(of, len(trials)), grace=1),
            data=replace(Config().data, mode="resident"),
        )
        dataset = Dataset.open(make_dataset(rows, 6))
        run = Run.create(tmp_path / "run", config, dataset, {"study": "s", "created": "2026-11-22T14:57:21Z"})
        study, clock = open_study(run.path / names.JOURNAL_FILE, "s"), 1000.0
        generator = np.random.default_rng(0)
        for number, (state, losses) in enumerate(trials):
            study.add_trial(_frozen(state, losses, config, generator))
            for epoch, loss in enumerate(losses, 1):
                clock += 1.0
                row = dict.fromkeys((names.R2, names.VAL_KLD, names.TRAIN_LOSS), 0.5)
                row |= {names.NUMBER: number, names.EPOCH: epoch, names.VAL_LOSS: loss, names.SECONDS: 1.0}
                row |= {names.NODE: "node-a", names.TIME: clock}
                with (run.path / names.EPOCHS_FILE).open("a") as file:
                    file.write(json.dumps(row) + "\n")
        if model:
            torch.manual_seed(0)
            about = {"search": {"trial": 0}, "best_epoch": 9, "best_val_loss": 1.0}
            ResVAE(6, 8, 3).save_pretrained(run.path / names.MODEL_FOLDER, about)
        return run.path

    return write


def _frozen(state: str, losses: list[float], config, generator: np.random.Generator):
    """A trial as tests/unit/search/test_tpe.py finds it in a study."""
    from optuna.trial import TrialState, create_trial

    from resvae_ray.search.study import distributions

    space = distributions(config)
    kind = TrialState.FAIL if state == "failed" else TrialState[{"pending": "WAITING"}.get(state, state.upper())]
    return create_trial(
        state=kind,
        value=min(losses) if kind == TrialState.COMPLETE else None,
        params={name: domain.to_external_repr(_drawn(domain, generator)) for name, domain in space.items()},
        distributions=space,
        intermediate_values={epoch: min(losses[:epoch]) for epoch in range(1, len(losses) + 1)},
    )


def _drawn(domain, generator: np.random.Generator) -> float:
    if hasattr(domain, "choices"):
        return float(generator.integers(len(domain.choices)))
    value = generator.uniform(domain.low, domain.high)
    return float(round(value)) if isinstance(domain.low, int) else value


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on loopback, in this process."""
    server = pytest.importorskip("moto.server", reason="needs moto, of the extra `test`").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """s3:// of an empty bucket, with the environment that leads there."""
    from pyarrow import fs as pafs

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    options = {"endpoint_override": s3_server, "region": "us-east-1", "allow_bucket_creation": True}
    pafs.S3FileSystem(**options).create_dir(name)
    return f"s3://{name}"
