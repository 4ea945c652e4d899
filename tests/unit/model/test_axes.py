"""Axes match their definition."""

import numpy as np
import pytest
import torch

from resvae_ray.data import features_writer as writer_module
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import ResidentRows
from resvae_ray.errors import DataError, JobError
from resvae_ray.model import axes as axes_module
from resvae_ray.model.axes import fit_axes
from resvae_ray.model.network import ResVAE


@pytest.fixture
def dataset(make_dataset):
    return Dataset.open(make_dataset(500, 8))


def a_model(z_dim=3, dim=8):
    torch.manual_seed(0)
    return ResVAE(dim, 16, z_dim).eval()


def encoded(model, dataset):
    """Training rows and their posterior means, in double precision."""
    x = ResidentRows.decode(dataset.features("train")).matrix
    with torch.inference_mode():
        return x.double().numpy(), model.encode(x)[0].double().numpy()


def test_distances_along_the_axes_are_those_of_what_a_linear_regression_on_the_latents_explains(dataset):
    model = a_model()
    x, z = encoded(model, dataset)
    design = np.column_stack([z, np.ones(len(z))])
    fitted = design @ np.linalg.lstsq(design, x, rcond=None)[0]
    scores = fit_axes(model, dataset).scores(z)
    ours, theirs = (((rows[:100, None] - rows[None, :100]) ** 2).sum(-1) for rows in (scores, fitted))
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-9)


def test_axes_are_uncorrelated_and_the_largest_comes_first(dataset):
    model = a_model()
    covariance = np.cov(fit_axes(model, dataset).scores(encoded(model, dataset)[1]).T, bias=True)
    variances = covariance.diagonal()
    assert (np.diff(variances) <= 0).all()
    assert covariance == pytest.approx(np.diag(variances), abs=1e-6 * variances[0])


def test_axes_do_not_depend_on_the_scale_or_the_turn_of_the_latents(dataset):
    """Two models whose latents differ by scale and rotation have the same axes."""
    model, other = a_model(), a_model()
    mixing = torch.tensor([[2.0, 0.3, 0.0], [0.0, 0.5, 0.1], [0.4, 0.0, 30.0]])
    with torch.no_grad():
        other.fc21.weight.copy_(mixing @ other.fc21.weight)
        other.fc21.bias.copy_(mixing @ other.fc21.bias + 5)
    found = [fit_axes(each, dataset).scores(encoded(each, dataset)[1]) for each in (model, other)]
    assert found[1] == pytest.approx(found[0], rel=1e-3, abs=1e-4 * np.abs(found[0]).max())


def test_a_latent_that_never_varies_leaves_an_axis_at_zero(dataset):
    model = a_model()
    with torch.no_grad():
        model.fc21.weight[1] = 0.0
    turn = fit_axes(model, dataset).turn
    assert turn.shape == (3, 3)
    assert (turn[1] == 0).all()
    assert (turn[:, 2] == 0).all()
    assert (turn[[0, 2], :2] != 0).all()
    with torch.no_grad():
        model.fc21.weight.zero_()
    assert (fit_axes(model, dataset).turn == 0).all()


def test_there_are_no_more_axes_than_features(make_dataset):
    dataset, model = Dataset.open(make_dataset(300, 4)), a_model(z_dim=6, dim=4)
    assert fit_axes(model, dataset).turn.shape == (6, 4)


def test_large_sets_are_sampled(make_dataset, monkeypatch):
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 4 * 8 * 50)
    dataset, model, rows = Dataset.open(make_dataset(500, 8)), a_model(), 0
    monkeypatch.setattr(axes_module, "MOST_ROWS", 1)
    whole = axes_module._means

    def counted(model, features):
        nonlocal rows
        rows += len(features)
        return whole(model, features)

    monkeypatch.setattr(axes_module, "_means", counted)
    fit_axes(model, dataset)
    assert 0 < rows <= 50


def test_latents_that_are_not_finite_are_reported(dataset):
    model = a_model()
    with torch.no_grad():
        model.fc21.bias[1] = torch.inf
    with pytest.raises(JobError, match="a latent of the model is not finite"):
        fit_axes(model, dataset)


def test_features_of_another_width_are_refused(dataset):
    with pytest.raises(DataError, match="vectors of 8 numbers, but the model takes 5"):
        fit_axes(a_model(dim=5), dataset)
