"""Products in bfloat16: in a training step only, and float32 where it is not asked for."""

# pyright: reportAttributeAccessIssue=false

from dataclasses import replace

import numpy as np
import pytest
import torch

from resvae_ray.config import Config, TrainingConfig
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import ResidentRows
from resvae_ray.model import products
from resvae_ray.model.products import products_in, resolved
from resvae_ray.model.training import Training
from resvae_ray.search.resume import first_config

CPU = torch.device("cpu")
HAS_BFLOAT16 = resolved("auto") == "bfloat16" and not torch.cuda.is_available()


def machine(monkeypatch, **capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({}, "float32"), ({"avx512_f": True, "avx512_bf16": False}, "float32"), ({"amx_bf16": True}, "bfloat16")],
)
def test_auto_depends_on_the_instructions_of_the_cpu(monkeypatch, capabilities, expected):
    machine(monkeypatch, **capabilities)
    assert resolved("auto") == expected
    assert (resolved("float32"), resolved("bfloat16")) == ("float32", "bfloat16")


@pytest.mark.parametrize(
    ("device", "backend", "precision"),
    [("cpu", torch.backends.mkldnn.matmul, "bf16"), ("cuda", torch.backends.cuda.matmul, "tf32")],
)
def test_the_setting_ends_with_the_context(device, backend, precision):
    before = backend.fp32_precision
    with pytest.raises(ZeroDivisionError), products_in("bfloat16", torch.device(device)):
        assert backend.fp32_precision == precision
        _ = 1 / 0
    assert backend.fp32_precision == before
    with products_in("float32", torch.device(device)):
        assert backend.fp32_precision == before


def trained(matmul, epochs=2):
    """torch multiplies small matrices in float32 in any case."""
    rows = ResidentRows(torch.from_numpy(np.random.default_rng(0).normal(size=(96, 256)).astype(np.float32)))
    config = TrainingConfig(z_dim=4, hidden_dim=256, epochs=epochs, matmul=matmul)
    training = Training(config, rows, rows, seed=0)
    return [metrics["val_loss"] for metrics in training.epochs()]


@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no fast bfloat16")
def test_a_training_in_bfloat16_differs_a_little():
    exact, rounded = trained("float32"), trained("bfloat16")
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.05)
    assert trained("auto") == rounded
    assert trained("float32") == exact


def test_a_search_with_auto_records_the_format_and_retrains_its_winner(monkeypatch, make_dataset):
    dataset = Dataset.open(make_dataset(30, 4))
    config = replace(Config(), training=TrainingConfig(matmul="auto"))
    machine(monkeypatch, avx512_bf16=True)
    chosen = first_config(dataset, config)
    assert (chosen.training.matmul, chosen.search.finalists, chosen.search.seeds) == ("bfloat16", 1, 1)
    own = replace(config, search=replace(config.search, finalists=2))
    assert first_config(dataset, own).search == own.search
    machine(monkeypatch)
    assert first_config(dataset, config) == replace(chosen, training=TrainingConfig(), search=config.search)
    assert products.resolved("auto") == "float32"
