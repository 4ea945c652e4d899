"""Network and loss are the published class's: by its own text where that is at hand, and by golden numbers."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import COMBINATIONS, DIM, HIDDEN, LATENTS, ROWS, features, fixed_weights, latent_noise

from resvae_ray.config import TrainingConfig
from resvae_ray.data.stream import ResidentRows
from resvae_ray.model import validation as evaluation
from resvae_ray.model.loss import loss_terms
from resvae_ray.model.network import ResVAE

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
RELATIVE = 1e-5  # float32 sums in another order


def our_loss(model, x, noise, loss_type, reduction, beta=1000.0):
    outputs = model(x, noise)
    return outputs, loss_terms(outputs[0], x, *outputs[1:], beta=beta, loss_type=loss_type, reduction=reduction)


@pytest.fixture
def model():
    model = ResVAE(DIM, HIDDEN, LATENTS)
    fixed_weights(model)
    return model.eval()


@pytest.mark.parametrize(("loss_type", "reduction"), COMBINATIONS)
class TestGoldenNumbers:
    def test_forward_loss_and_gradients(self, model, loss_type, reduction):
        outputs, terms = our_loss(model, features()[:32], latent_noise()[:32], loss_type, reduction)
        terms.total.backward()
        key = f"{loss_type} {reduction}"
        sums = [output.double().sum().item() for output in outputs]
        assert sums == pytest.approx(GOLDEN["forward"], rel=RELATIVE)
        parts = [terms.total.item(), terms.reconstruction.item(), terms.kld.item()]
        assert parts == pytest.approx(GOLDEN["losses"][key], rel=RELATIVE)
        norms = {name: p.grad.double().norm().item() for name, p in model.named_parameters()}
        assert norms == pytest.approx(GOLDEN["gradients"][key], rel=1e-4)

    def test_validation_loss_of_an_epoch(self, model, loss_type, reduction, monkeypatch):
        monkeypatch.setattr(evaluation, "validation_noise", lambda block, rows, z_dim: latent_noise())
        config = TrainingConfig(loss_type=loss_type, reduction=reduction)
        loss = evaluation.validate(model, ResidentRows(features()), config).loss
        assert loss == pytest.approx(GOLDEN["val_loss"][f"{loss_type} {reduction}"], rel=RELATIVE)


class TestAgainstTheText:
    @pytest.fixture
    def pair(self, reference_class):
        """Theirs and ours with equal weights, made from equal seeds."""

        def make(input_dim, hidden_dim, z_dim, **options):
            torch.manual_seed(3)
            theirs = reference_class(input_dim, hidden_dim, z_dim, **options)
            torch.manual_seed(3)
            return theirs, ResVAE(input_dim, hidden_dim, z_dim)

        return make

    def test_names_initial_weights_and_size(self, pair):
        theirs, ours = pair(1280, 859, 18)
        assert list(theirs.state_dict()) == list(ours.state_dict())
        assert all(
            torch.equal(a, b) for a, b in zip(theirs.state_dict().values(), ours.state_dict().values(), strict=True)
        )
        assert sum(p.numel() for p in theirs.parameters()) == ours.parameter_count() == 4_064_123

    @pytest.mark.parametrize(("input_dim", "hidden_dim", "z_dim"), [(1280, 859, 18), (320, 250, 50), (7, 5, 2)])
    @pytest.mark.parametrize("training", [True, False])
    def test_forward(self, pair, input_dim, hidden_dim, z_dim, training):
        theirs, ours = (model.train(training) for model in pair(input_dim, hidden_dim, z_dim))
        x = torch.randn(32, input_dim)
        torch.manual_seed(1)
        expected = theirs(x)
        torch.manual_seed(1)
        for a, b in zip(expected, ours(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize(("loss_type", "reduction"), COMBINATIONS)
    def test_loss_and_gradients(self, pair, loss_type, reduction):
        theirs, ours = pair(64, 40, 5, loss_type=loss_type, reduction=reduction)
        x = torch.randn(32, 64)
        torch.manual_seed(1)
        outputs = theirs(x)
        loss = theirs.loss_function(outputs[0], x, *outputs[1:], beta=1000)
        loss.backward()
        torch.manual_seed(1)
        terms = our_loss(ours, x, None, loss_type, reduction)[1]
        terms.total.backward()
        assert terms.total.item() == pytest.approx(loss.item(), rel=1e-6)
        assert terms.reconstruction.item() == pytest.approx(theirs.REC.item(), rel=1e-6)
        assert terms.kld.item() == pytest.approx(theirs.KLD.item(), rel=1e-6)
        for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(("loss_type", "reduction"), COMBINATIONS)
    def test_validation_loss_of_an_epoch(self, pair, loss_type, reduction, monkeypatch):
        """The document's loop in batches of 32, with our noise, against our blocks of 1,024 rows."""
        theirs, ours = (model.eval() for model in pair(24, 16, 4, loss_type=loss_type, reduction=reduction))
        x = torch.randn(1024 + 32 * 5 + 11, 24)
        config = TrainingConfig(loss_type=loss_type, reduction=reduction)
        noise = torch.cat(
            [evaluation.validation_noise(block, len(part), 4) for block, part in enumerate(x.split(1024))]
        )
        draws = iter(noise.split(32))
        monkeypatch.setattr(torch, "randn_like", lambda std: next(draws))
        total = 0.0
        with torch.no_grad():
            for batch in x.split(32):
                outputs = theirs(batch)
                total += theirs.loss_function(outputs[0], batch, *outputs[1:], beta=1000).item() * len(batch)
        loss = evaluation.validate(ours, ResidentRows(x), config.metric).loss
        assert loss == pytest.approx(total / len(x), rel=1e-6)

    def test_sampled_latents(self, pair):
        theirs, ours = pair(24, 16, 4)
        x = torch.randn(10, 24)
        ours.train()
        torch.testing.assert_close(theirs.get_model_inference_z(x, seed=5), ours.sample_latents(x, seed=5))
        assert ours.training

    def test_published_weights_become_a_model(self, pair, tmp_path):
        from resvae_ray.model.published import load_published_weights

        theirs, _ = pair(24, 16, 4)
        torch.save(theirs.state_dict(), tmp_path / "model_parameters.pt")
        ours = load_published_weights(tmp_path / "model_parameters.pt")
        x = torch.randn(5, 24)
        torch.testing.assert_close(theirs.eval().encode(x)[0], ours.encode(x)[0])

    def test_errors_are_of_the_same_kind(self, reference_class):
        x = torch.zeros(2, 8)
        for options in ({"reduction": "none"}, {"loss_type": "MAE"}):
            with pytest.raises(ValueError, match="Invalid"):
                reference_class(8, 8, 2, **options).loss_function(x, x, x, x)
            with pytest.raises(ValueError, match="Invalid"):
                loss_terms(x, x, x, x, **options)


def test_worst_row_and_explained_variance(model):
    x = features().clone()
    x[41] *= 30
    found = evaluation.validate(model, ResidentRows(x), TrainingConfig().metric)
    assert found.worst_row == 41
    assert found.worst_loss > 10 * found.reconstruction
    reconstruction, mu, logvar = model(x, evaluation.validation_noise(0, ROWS, LATENTS))
    spread = (x - x.mean(0)).pow(2).sum()
    assert found.r2 == pytest.approx(1 - ((reconstruction - x).pow(2).sum() / spread).item(), rel=1e-5)
    assert found.active_units == int((mu.var(0, correction=0) > 0.01 * logvar.exp().mean(0)).sum())
    assert np.isfinite(found.loss)


def test_active_units_do_not_depend_on_the_scale_of_the_latents(model):
    """Half of the latents are idle: mean 0, variance 1. The others keep their signal whatever their unit."""
    rows, half = ResidentRows(features()), LATENTS // 2
    with torch.no_grad():
        model.fc21.weight[:half], model.fc21.bias[:half] = 0, 0
        model.fc22.weight[:], model.fc22.bias[:half] = 0, 0
        model.fc22.bias[half:] = -4
    metric, expected = TrainingConfig().metric, LATENTS - half
    assert evaluation.validate(model, rows, metric).active_units == expected
    for scale in (1e-3, 1e3):
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.fc21.weight *= scale
            other.fc21.bias *= scale
            other.fc22.bias += 2 * math.log(scale)
            other.fc3.weight /= scale
        found = evaluation.validate(other, rows, metric)
        assert found.active_units == expected
        assert found.r2 == pytest.approx(evaluation.validate(model, rows, metric).r2, rel=1e-3)


def test_evaluation_does_not_depend_on_blocks_or_mode(model, monkeypatch):
    x = ResidentRows(features())
    whole = evaluation.validate(model.train(), x, TrainingConfig().metric)
    assert model.training
    noise = evaluation.validation_noise(0, ROWS, LATENTS)
    monkeypatch.setattr(evaluation, "BLOCK_ROWS", 32)
    monkeypatch.setattr(evaluation, "validation_noise", lambda block, rows, z_dim: noise[32 * block :][:rows])
    parts = evaluation.validate(model, x, TrainingConfig().metric)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert parts.r2 == pytest.approx(whole.r2, rel=1e-6)
    assert (parts.worst_row, parts.active_units) == (whole.worst_row, whole.active_units)
