"""Nested latents: which are kept, how they count in the loss, and that a prefix is a code."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from resvae_ray.config import TrainingConfig
from resvae_ray.data.stream import ResidentRows
from resvae_ray.errors import DataError, UsageError
from resvae_ray.model.checkpoint import resume_path
from resvae_ray.model.loss import loss_terms
from resvae_ray.model.nested import NestedLatents
from resvae_ray.model.network import FilmOfPrefix, ResVAE
from resvae_ray.model.principal import principal_components
from resvae_ray.model.tensor_file import read_tensors, write_tensors
from resvae_ray.model.training import Training

RECIPE = TrainingConfig(
    z_dim=4, hidden_dim=32, lr=3e-3, epochs=3, batch_size=16, dropout=0.0, nested=0.5, linear="pca", beta="auto"
)


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    factors = draw.normal(size=(240, 4)) * [4, 2, 1, 0.5]
    x = factors @ draw.normal(size=(4, 10)) + 0.05 * draw.normal(size=(240, 10))
    return ResidentRows(torch.from_numpy(x.astype(np.float32)))


def test_some_rows_keep_a_beginning_and_the_others_all(rows):
    nested = NestedLatents(0.5, 0, 8, principal_components(rows), torch.device("cpu"))
    torch.manual_seed(0)
    kept, weights, counted = nested.draw(20_000)
    assert torch.equal(counted, kept)
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
    kept = NestedLatents(1.0, 0, 8, principal_components(rows), torch.device("cpu")).draw(10_000).kept
    assert (kept.sum(1) == 8).float().mean() < 0.1


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_only_latents_that_are_kept_count_in_the_kld_and_each_row_by_its_weight(reduction):
    torch.manual_seed(0)
    x, rebuilt, mu, logvar = torch.randn(2, 5), torch.randn(2, 5), torch.randn(2, 3), torch.randn(2, 3)
    kept, weights = torch.tensor([[1.0, 0, 0], [1, 1, 1]]), torch.tensor([0.25, 1.0])
    terms = loss_terms(rebuilt, x, mu, logvar, reduction=reduction, weights=weights, kld_weights=kept)
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


def test_every_row_is_decoded_from_all_its_latents_and_from_short_and_long_prefixes(rows):
    components = principal_components(rows)
    torch.manual_seed(0)
    kept, weights, counted = NestedLatents(0.6, 3, 8, components, torch.device("cpu")).draw(10_000)
    widths = kept.sum(1).long().view(4, 10_000)
    assert (widths[0] == 8).all()
    lows, highs = widths.amin(1).tolist(), widths.amax(1).tolist()
    assert lows[1:] == [1, 2, 4]  # 9 ** (1 / 3) is 2.08, 9 ** (2 / 3) is 4.3
    assert highs[1:] == [2, 4, 8]
    shares = counted.amax(1).view(4, 10_000)
    torch.testing.assert_close(shares.mean(1) / shares.mean(1).sum(), torch.tensor([0.4, 0.2, 0.2, 0.2]))
    assert shares.mean() == pytest.approx(1.0)
    assert torch.equal(counted > 0, kept > 0)
    left = torch.from_numpy(components.unexplained(8)).clamp_min(1e-3 * components.total)
    torch.testing.assert_close(weights, (shares.flatten() * (left[-1] / left[kept.sum(1).long() - 1]) ** 0.7).float())


def conditioned(z_dim=5):
    torch.manual_seed(1)
    model = ResVAE(6, 16, z_dim, nested=True, conditioned=True).eval()
    torch.nn.init.normal_(model.get_parameter("film.weight"))
    return model


def test_the_decoder_of_all_latents_is_as_without_a_condition():
    model, z = conditioned(), torch.randn(3, 5)
    plain = ResVAE(6, 16, 5, nested=True).eval()
    plain.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name != "film.weight"})
    assert torch.equal(model.decode(z), plain.decode(z))
    assert not torch.allclose(model.decode(z[:, :2]), plain.decode(z[:, :2]), atol=1e-2)


@pytest.mark.parametrize("z_dim", [1, 2, 5, 8, 50])
def test_gain_and_shift_lie_between_those_of_powers_of_two(z_dim):
    hats = FilmOfPrefix(z_dim, (3,)).hats
    assert (hats[-1] == 0).all()
    for knot in range(hats.shape[1]):
        if 2**knot < z_dim:
            assert hats[2**knot - 1].argmax() == knot
            assert hats[2**knot - 1].sum() == pytest.approx(1.0)
    if z_dim > 4:
        assert hats[2].tolist()[:3] == pytest.approx([0.0, 2 - np.log2(3), np.log2(3) - 1], abs=1e-6)


def test_one_pass_of_the_encoder_is_decoded_several_times():
    model, x = conditioned(), torch.randn(2, 6)
    noise = torch.randn(4, 5)
    kept = (torch.arange(5) < torch.tensor([5, 5, 3, 1])[:, None]).float()
    rebuilt, mu, logvar = model(x, noise, kept)
    once = model.posterior(x)
    assert torch.equal(mu, once[0].repeat(2, 1))
    assert torch.equal(logvar, once[1].repeat(2, 1))
    z = model.reparameterize(mu, logvar, noise)
    for row, width in enumerate([5, 5, 3, 1]):
        torch.testing.assert_close(rebuilt[row : row + 1], model.decode(z[row : row + 1, :width]))


def test_a_training_that_decodes_prefixes_makes_each_a_code_and_better_short_ones():
    draw = np.random.default_rng(0)
    angles = draw.uniform(0, 3, 200)[:, None] * np.arange(1, 5)
    x = np.concatenate([np.sin(angles), np.cos(angles), 0.1 * draw.normal(size=(200, 2))], 1)  # a curve
    rows = ResidentRows(torch.from_numpy(x.astype(np.float32)))
    config = replace(RECIPE, prefixes=2, epochs=12, lr=1e-2)
    found = []
    for given in (config, replace(config, prefixes=0)):
        training = Training(given, rows, rows)
        list(training.epochs())
        found.append([r2(training.best_model(), rows.matrix, width) for width in (1, 2, 3, 4)])
    assert found[0] == sorted(found[0])
    assert found[0][0] > found[1][0]
    assert found[0][1] > found[1][1] + 0.05


def test_a_conditioned_model_comes_back_and_one_of_an_earlier_version_is_not_conditioned(tmp_path):
    model, z = conditioned(), torch.randn(3, 5)
    again = ResVAE.from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert torch.equal(again.decode(z[:, :3]), model.decode(z[:, :3]))
    earlier = ResVAE(6, 16, 5, linear="pca", nested=True).eval()
    folder = tmp_path / "earlier"
    earlier.save_pretrained(folder)
    about = json.loads((folder / "config.json").read_text())
    del about["conditioned"]
    (folder / "config.json").write_text(json.dumps(about))
    assert torch.equal(ResVAE.from_pretrained(folder).decode(z[:, :3]), earlier.decode(z[:, :3]))
    (folder / "config.json").write_text(json.dumps(about | {"conditioned": "k"}))
    with pytest.raises(DataError, match="conditioned is 'k'; expected true or false"):
        ResVAE.from_pretrained(folder)


def test_a_training_of_an_earlier_version_is_resumed_as_it_began(rows, tmp_path):
    config = replace(RECIPE, average=0.9)
    begun = Training(config, rows, rows)
    steps = begun.epochs()
    next(steps)
    begun.save(tmp_path)
    path = resume_path(tmp_path)
    tensors, state = read_tensors(path)
    del state["config"]["prefixes"]
    write_tensors(path, tensors, state)
    resumed = Training(config, rows, rows)
    assert resumed.resume(tmp_path)
    for ours, theirs in zip(steps, resumed.epochs(), strict=True):
        assert ours["val_loss"] == theirs["val_loss"]
