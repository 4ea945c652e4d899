"""The gradient in pieces is the gradient."""

import pytest
import torch
from torch import nn

from resvae_ray.config import TrainingConfig
from resvae_ray.data.stream import ResidentRows
from resvae_ray.model import linear
from resvae_ray.model.linear import LARGE, PIECE, Linear
from resvae_ray.model.training import Training


def pair(in_features, out_features):
    """Ours and PyTorch's with the same weights, in double precision."""
    torch.manual_seed(0)
    ours, plain = Linear(in_features, out_features).double(), nn.Linear(in_features, out_features).double()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def gradients(layer, x, of_output):
    x = x.clone().requires_grad_()
    output = layer(x)
    output.backward(of_output)
    return output.detach(), x.grad, layer.weight.grad, layer.bias.grad


@pytest.mark.parametrize("out_features", [PIECE // 777 * 5, PIECE // 777 * 6 + 1, LARGE // 777 + 1])
@pytest.mark.parametrize("rows", [1, 32])
def test_all_gradients_are_those_of_the_plain_layer(out_features, rows):
    ours, plain = pair(777, out_features)
    x, of_output = torch.randn(rows, 777).double(), torch.randn(rows, out_features).double()
    assert in_pieces(ours, x)
    for found, expected in zip(gradients(ours, x, of_output), gradients(plain, x, of_output), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def in_pieces(layer, x):
    return "InPieces" in type(layer(x).grad_fn).__name__


def test_small_or_aligned_layers_and_inference_use_the_plain_path():
    x = torch.randn(4, 1001)
    assert in_pieces(Linear(1001, 600), x)
    assert not in_pieces(Linear(1001, 500), x)
    assert not in_pieces(Linear(1008, 600), torch.randn(4, 1008))
    assert not in_pieces(Linear(1001, 600).eval(), x)
    torch.set_num_threads(2)
    assert not in_pieces(Linear(1001, 600), x)


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_training_has_the_losses_of_the_plain_layers(double_precision, monkeypatch):
    torch.manual_seed(0)
    rows = ResidentRows(torch.randn(96, 330))
    config = TrainingConfig(z_dim=3, hidden_dim=1201, epochs=3)

    def trained():
        training = Training(config, rows, rows, seed=1)
        some = any(in_pieces(layer, torch.randn(2, layer.in_features)) for layer in linears(training.model))
        return some, [metrics["train_loss"] for metrics in training.epochs()]

    pieces, losses = trained()
    monkeypatch.setattr(linear, "LARGE", 1 << 30)
    none, expected = trained()
    assert (pieces, none) == (True, False)
    assert losses == pytest.approx(expected, rel=1e-12)


def linears(model):
    return [module for module in model.modules() if isinstance(module, Linear)]
