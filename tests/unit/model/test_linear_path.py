"""A network with a linear path: it begins as PCA, and features of any scale give the same model."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from resvae_ray.config import TrainingConfig
from resvae_ray.data import moments
from resvae_ray.data.stream import ResidentRows
from resvae_ray.errors import DataError, UsageError
from resvae_ray.model import principal
from resvae_ray.model.network import ResVAE
from resvae_ray.model.principal import metric_for, principal_components, start_as_pca
from resvae_ray.model.tensor_file import write_tensors
from resvae_ray.model.training import Training

RECIPE = TrainingConfig(
    z_dim=4, hidden_dim=16, lr=3e-3, epochs=4, batch_size=16, dropout=0.1, linear="pca", nested=0.5, beta="auto"
)


def features(rows=120, dim=9, rank=5, seed=0):
    draw = np.random.default_rng(seed)
    mixed = draw.normal(size=(rows, rank)) * 2.0 ** -np.arange(rank) @ draw.normal(size=(rank, dim))
    return torch.from_numpy((3 + mixed + 0.01 * draw.normal(size=(rows, dim))).astype(np.float32))


def pca_reconstruction(x, width):
    mean = x.mean(0)
    directions = torch.linalg.svd((x - mean).double())[2][:width].float()
    return mean + (x - mean) @ directions.T @ directions


def started(x, z_dim=4):
    torch.manual_seed(0)
    model = ResVAE(x.shape[1], 16, z_dim, linear="pca", nested=True)
    start_as_pca(model, principal_components(ResidentRows(x)))
    return model.eval()


@pytest.mark.parametrize("shape", [(120, 9), (7, 30)], ids=["features", "fewer rows than features"])
@torch.no_grad()
def test_at_the_start_every_prefix_is_pca(shape):
    x = features(*shape)
    model = started(x)
    mu, logvar = model.encode(x)
    deviations = (x - x.mean(0)) / (x - x.mean(0)).pow(2).mean().sqrt()
    scores = deviations @ torch.linalg.svd(deviations.double())[2][:4].float().T
    torch.testing.assert_close(mu.abs(), scores.abs(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(mu.std(0, correction=0), model.prior_spread, rtol=1e-3, atol=0)
    assert (logvar <= 2 * model.prior_spread.log()).all(), "no posterior is wider than the prior"
    for width in (1, 2, 4):
        torch.testing.assert_close(model.decode(mu[:, :width]), pca_reconstruction(x, width), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_latents_beyond_the_rank_of_the_rows_begin_at_the_prior():
    x = features(rows=3)
    mu, logvar = started(x, z_dim=6).posterior(features(rows=50, seed=1))
    assert torch.isfinite(mu).all()
    assert (mu[:, 2:] == 0).all()
    assert (logvar[:, 2:] == 0).all()
    torch.testing.assert_close(pca_reconstruction(x, 2), x)


def test_equal_rows_are_refused():
    with pytest.raises(DataError, match="all 8 training rows are equal"):
        next(Training(RECIPE, ResidentRows(torch.ones(8, 5)), ResidentRows(torch.ones(3, 5))).epochs())


def test_large_sets_are_sampled(monkeypatch):
    monkeypatch.setattr(principal, "MOST_ROWS", 60)
    rows = ResidentRows(torch.randn(500, 4) @ torch.diag(torch.tensor([8.0, 4.0, 2.0, 1.0])))
    found = principal_components(rows)
    assert found.rows == 60
    assert np.abs(found.directions.diagonal()).min() > 0.9
    assert principal_components(rows) is found, "the next trial in the process does not compute it again"


def test_wide_features_need_no_matrix_of_all_features(monkeypatch):
    monkeypatch.setattr(principal, "LARGEST_MATRIX", 40)
    monkeypatch.setattr(moments, "LARGEST_MATRIX", 40)
    found = principal_components(ResidentRows(features(rows=200, dim=50)))
    assert (found.rows, found.directions.shape[1]) == (40, 50)


def test_the_other_layers_begin_as_without_the_path():
    torch.manual_seed(3)
    plain = ResVAE(8, 16, 3)
    torch.manual_seed(3)
    with_path = ResVAE(8, 16, 3, linear="pca")
    for name, tensor in plain.state_dict().items():
        assert torch.equal(with_path.state_dict()[name], tensor)
    added = set(with_path.state_dict()) - set(plain.state_dict())
    assert added == {
        *(f"scaling.{constant}" for constant in ("mean", "scale", "spread", "logvar")),
        "path_in.weight",
        "path_out.weight",
    }
    assert "path_in" in with_path.summary()


def test_a_model_says_that_it_has_a_path_and_comes_back(tmp_path):
    model = started(features())
    folder = model.save_pretrained(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    assert (config["linear"], config["nested"]) == ("pca", True)
    again, x = ResVAE.from_pretrained(folder), features(rows=5)
    for ours, theirs in zip(again(x, torch.zeros(5, 4)), model(x, torch.zeros(5, 4)), strict=True):
        assert torch.equal(ours, theirs)
    (folder / "config.json").write_text(json.dumps(config | {"linear": "ica"}))
    with pytest.raises(DataError, match=r"config.json: linear is 'ica'; expected none or pca"):
        ResVAE.from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config | {"nested": 1}))
    with pytest.raises(DataError, match="nested is 1; expected true or false"):
        ResVAE.from_pretrained(folder)


def test_a_model_of_an_earlier_version_loads(tmp_path):
    model = ResVAE(8, 16, 3).eval()
    folder = model.save_pretrained(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    del config["linear"], config["nested"]
    (folder / "config.json").write_text(json.dumps(config))
    write_tensors(folder / "model.safetensors", model.state_dict(), {})
    x = torch.randn(4, 8)
    assert torch.equal(ResVAE.from_pretrained(folder).encode(x)[0], model.encode(x)[0])


@torch.no_grad()
def test_encoded_latents_are_those_of_the_posterior_in_amounts_of_the_features():
    x = features()
    model = started(x)
    model.fc21.weight.normal_()
    model.fc22.weight.normal_()
    mu, logvar = model.encode(x)
    unit_mu, unit_logvar = model.posterior(x)
    torch.testing.assert_close(mu, unit_mu * model.prior_spread)
    torch.testing.assert_close((0.5 * logvar).exp(), (0.5 * unit_logvar).exp() * model.prior_spread)
    noise = torch.randn(len(x), 4)
    rebuilt = model.decode(model.reparameterize(mu, logvar, noise))
    torch.testing.assert_close(rebuilt, model(x, noise)[0], rtol=1e-4, atol=1e-4)


def test_an_unknown_path_is_refused():
    with pytest.raises(UsageError, match="linear is 'ica'"):
        ResVAE(8, 16, 3, linear="ica")


def trained(x, config=RECIPE):
    training = Training(config, ResidentRows(x[:90]), ResidentRows(x[90:]), seed=1)
    metrics = list(training.epochs())
    training.model.eval()
    with torch.no_grad():
        mu = training.model.encode(x)[0]
        return mu, training.model.decode(mu), metrics[-1]


def test_features_of_another_scale_give_the_same_model():
    x = features()
    mu, rebuilt, metrics = trained(x)
    for scale in (2.0**7, 2.0**-7):
        scaled_mu, scaled_rebuilt, scaled_metrics = trained(x * scale)
        assert torch.equal(scaled_mu, mu), "a power of two rounds nothing"
        assert torch.equal(scaled_rebuilt, rebuilt * scale)
        assert scaled_metrics["val_kld"] == metrics["val_kld"]
    for scale in (100.0, 0.01):
        scaled_mu, scaled_rebuilt, scaled_metrics = trained(x * scale)
        torch.testing.assert_close(scaled_mu, mu, rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(scaled_rebuilt / scale, rebuilt, rtol=1e-2, atol=1e-2)
        assert scaled_metrics["r2"] == pytest.approx(metrics["r2"], abs=1e-3)
        assert scaled_metrics["val_loss"] == pytest.approx(metrics["val_loss"], rel=1e-2)


def test_a_fixed_beta_fits_features_of_one_scale_only():
    x, config = features(), replace(RECIPE, beta=1000.0)
    mu, other = trained(x, config)[0], trained(x / 128, config)[0]
    assert (mu - other).abs().max() > 0.1


def test_the_metric_of_an_automatic_beta_depends_on_the_training_rows_alone():
    x = features()
    rows = ResidentRows(x)
    found = {
        metric_for(replace(RECIPE, z_dim=z_dim, hidden_dim=hidden), rows) for z_dim in (1, 4) for hidden in (4, 16)
    }
    (metric,) = found
    variance = x.double().var(0, correction=0).sum().item()
    assert metric.beta == pytest.approx(9 / (2 * 0.05 * variance), rel=5e-3)
    assert metric_for(replace(RECIPE, beta=7.0), rows).beta == 7.0
    assert metric_for(RECIPE, ResidentRows(x * 10)).beta == pytest.approx(metric.beta / 100, rel=1e-2)


def test_weights_decay_towards_the_path_and_not_to_nothing():
    x = features()
    config = replace(RECIPE, weight_decay=1e3, lr=1e-3, epochs=20, nested=0.0)
    training = Training(config, ResidentRows(x), ResidentRows(x), seed=1)
    list(training.epochs())
    assert training.model.fc4.weight.abs().max() < 0.02
    assert training.last["r2"] > 0.9


def test_the_loss_on_the_papers_scale_is_reported_beside_that_of_the_metric():
    x = features()
    training = Training(RECIPE, ResidentRows(x), ResidentRows(x[:32]))
    (last,) = itertools.islice(training.epochs(), 1)
    by_paper = 32 * (1000 * last["val_reconstruction"] + last["val_kld"])
    assert last["paper_loss"] == pytest.approx(by_paper, rel=1e-6)
    assert last["val_loss"] == pytest.approx(
        32 * (training.metric.beta * last["val_reconstruction"] + last["val_kld"]), rel=1e-6
    )
    plain = Training(replace(RECIPE, beta=1000.0), ResidentRows(x), ResidentRows(x[:32]))
    assert "paper_loss" not in next(plain.epochs())
