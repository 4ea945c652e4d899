"""Nested latents: which are kept, how they count in the loss, and that a prefix is a code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from resvae_ray.config import TrainingConfig
from resvae_ray.data.stream import ResidentRows
from resvae_ray.errors import UsageError
from resvae_ray.model.loss import loss_terms
from resvae_ray.model.nested import NestedLatents
from resvae_ray.model.network import ResVAE
from resvae_ray.model.principal import principal_components
from resvae_ray.model.training import Training


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    factors = draw.normal(size=(240, 4)) * [4, 2, 1, 0.5]
    x = factors @ draw.normal(size=(4, 10)) + 0.05 * draw.normal(size=(240, 10))
    return ResidentRows(torch.from_numpy(x.astype(np.float32)))


def test_some_rows_keep_a_beginning_and_the_others_all(rows):
    nested = NestedLatents(0.5, 8, principal_components(rows), torch.device("cpu"))
    torch.manual_seed(0)
    kept, weights = nested.draw(20_000)
    widths = kept.sum(1).long()
    assert torch.equal(kept, (torch.arange(8) < widths[:, None]).float()), "always the first ones"
    shares = torch.bincount(widths, minlength=9) / len(widths)
    expected = 0.5 * np.diff(np.log(np.arange(1, 10))) / np.log(9) + 0.5 * (np.arange(1, 9) == 8)
    np.testing.assert_allclose(shares[1:], expected, atol=0.02)
    by_width = [weights[widths == width].unique() for width in range(1, 9)]
    assert all(len(found) == 1 for found in by_width)
    assert by_width[-1] == 1
    assert torch.equal(torch.cat(by_width).sort().values, torch.cat(by_width)), (
        "fewer latents, larger errors, less weight"
    )


def test_a_fraction_of_one_leaves_no_row_whole_but_by_chance(rows):
    kept, _ = NestedLatents(1.0, 8, principal_components(rows), torch.device("cpu")).draw(10_000)
    assert (kept.sum(1) == 8).float().mean() < 0.1


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_only_latents_that_are_kept_count_in_the_kld_and_each_row_by_its_weight(reduction):
    torch.manual_seed(0)
    x, rebuilt, mu, logvar = torch.randn(2, 5), torch.randn(2, 5), torch.randn(2, 3), torch.randn(2, 3)
    kept, weights = torch.tensor([[1.0, 0, 0], [1, 1, 1]]), torch.tensor([0.25, 1.0])
    terms = loss_terms(rebuilt, x, mu, logvar, reduction=reduction, kept=kept, weights=weights)
    klds = -0.5 * (1 + logvar - mu**2 - logvar.exp())
    parts = torch.cat([klds[0, :1], klds[1]])
    errors = torch.tensor([0.25, 1.0])[:, None] * (rebuilt - x) ** 2
    expected = (errors.sum(), parts.sum()) if reduction == "sum" else (errors.mean(), parts.mean())
    torch.testing.assert_close((terms.reconstruction, terms.kld), expected)


def test_an_automatic_beta_has_the_gradient_of_the_logarithm_of_the_error():
    torch.manual_seed(0)
    x, mu, logvar = torch.randn(4, 6), torch.zeros(4, 2), torch.zeros(4, 2)
    rebuilt = torch.randn(4, 6, requires_grad=True)
    loss_terms(rebuilt, x, mu, logvar, beta="auto").total.backward()
    expected = torch.autograd.grad(12 * ((rebuilt - x) ** 2).sum().log(), rebuilt)[0]
    torch.testing.assert_close(rebuilt.grad, expected)
    exact = loss_terms(x, x, mu, logvar, beta="auto").total
    assert exact == 0, "no error at all is no reason for a loss that is not finite"
    with pytest.raises(UsageError, match="beta is a number, or 'auto' with MSE and sum"):
        loss_terms(rebuilt, x, mu, logvar, beta="auto", loss_type="RMSE")


def r2(model, x, width):
    with torch.no_grad():
        rebuilt = model.decode(model.encode(x)[0][:, :width])
        return 1 - ((rebuilt - x) ** 2).sum().item() / ((x - x.mean(0)) ** 2).sum().item()


def test_every_prefix_of_one_training_is_a_code(rows):
    config = TrainingConfig(
        z_dim=4, hidden_dim=32, lr=3e-3, epochs=40, batch_size=16, dropout=0.0, nested=0.5, schedule="cosine"
    )
    training = Training(config, rows, rows)
    list(training.epochs())
    model = training.best_model()
    found = [r2(model, rows.matrix, width) for width in (1, 2, 3, 4)]
    plain = Training(replace(config, nested=0.0), rows, rows)
    list(plain.epochs())
    others = ResVAE.configured(config, 10)  # which may decode a prefix
    others.load_state_dict(plain.best_model().state_dict())
    assert found == sorted(found)
    assert found[0] > 0.5
    assert found[0] > r2(others.eval(), rows.matrix, 1) + 0.1, "without nesting the first latent alone is no code"


def test_a_prefix_is_decoded_as_with_zeros_and_only_of_nested_latents():
    model, z = ResVAE(6, 8, 4, nested=True).eval(), torch.randn(3, 4)
    assert torch.equal(model.decode(z[:, :2]), model.decode(z * torch.tensor([1.0, 1, 0, 0])))
    with pytest.raises(UsageError, match="5 latents, but the model has 4; give 1 to 4"):
        model.decode(torch.randn(3, 5))
    with pytest.raises(UsageError, match="2 latents, but the model has 4 that are not nested"):
        ResVAE(6, 8, 4).decode(z[:, :2])


def test_a_reconstruction_uses_only_the_latents_that_are_kept():
    model, x = ResVAE(6, 8, 4).eval(), torch.randn(2, 6)
    noise, kept = torch.randn(2, 4), torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1]])
    rebuilt, mu, logvar = model(x, noise, kept)
    torch.testing.assert_close(rebuilt, model.decode(model.reparameterize(mu, logvar, noise) * kept))
