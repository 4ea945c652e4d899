"""Figures of a model match the model's output for the DATASET."""

import shutil

import numpy as np
import pytest
import torch

from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.errors import DataError
from resvae_ray.evaluation.encoded_rows import Proteins, encoded
from resvae_ray.model.loss import divergence
from resvae_ray.model.network import ResVAE
from resvae_ray.reporting import latent_figures
from resvae_ray.reporting.figures import figures


@pytest.fixture
def drawn(run_path):
    return figures(run_path)


def rows(run_path, side):
    dataset = Dataset.open(run_path.parent / "dataset")
    return torch.from_numpy(np.concatenate([np.array(batch.features) for batch in dataset.features(side).batches()]))


def test_proteins_are_what_the_model_says(run_path, drawn):
    x, model = rows(run_path, "val"), ResVAE.from_pretrained(run_path / "model")
    found = drawn.findings.validation
    with torch.no_grad():
        mu, logvar = model.encode(x)
        errors = (model.decode(mu) - x).pow(2).sum(1)
    np.testing.assert_allclose(found.mu, mu, rtol=1e-5)
    np.testing.assert_allclose(found.errors, errors, rtol=1e-5)
    np.testing.assert_allclose(found.klds.sum(), divergence(mu, logvar).mean(), rtol=1e-5)
    np.testing.assert_allclose(found.variances, mu.var(0, correction=0), rtol=1e-4)
    np.testing.assert_allclose(found.spreads.sum(), ((x - x.mean(0)) ** 2).sum(), rtol=1e-5)
    assert found.of == len(found) == 12
    assert {label[:9] for label in found.labels} == {"synthetic"}


def test_large_sets_are_sampled(make_dataset, monkeypatch):
    monkeypatch.setattr("resvae_ray.data.features_writer.ROW_GROUP_BYTES", 10 * 6 * 4)
    dataset, model = Dataset.open(make_dataset(1000, 6)), ResVAE(6, 8, 3).eval()
    found = encoded(dataset, "train", model, most=95)
    assert 95 <= len(found) < 110
    assert found.of == 800
    assert len(set(found.ids)) == len(found)
    assert encoded(dataset, "train", model, most=95).ids == found.ids
    every = [name for batch in Features.open(dataset.path / "train").batches() for name in batch.ids.to_pylist()]
    chosen = [every.index(name) for name in found.ids]
    assert chosen == sorted(chosen)
    assert chosen[0] < 400 < chosen[-1]
    assert len(encoded(dataset, "train", model)) == 800


def proteins(mu, labels=None):
    n = len(mu)
    mu = np.asarray(mu, float)
    return Proteins("val", n, [str(i) for i in range(n)], labels, mu, np.zeros_like(mu), np.ones(n), np.ones(n))


def with_validation(drawn, found):
    drawn.findings.__dict__["validation"] = found
    drawn.findings.__dict__["training"] = proteins(np.empty((0, found.mu.shape[1])), [] if found.labels else None)
    return drawn


def test_active_units_are_those_above_the_threshold(drawn):
    """The variances of 0, s, 0, s … are s²/4: 0.0099 is not active, 0.0101 is."""
    scales = 2 * np.sqrt([0.0099, 0.0101, 4.0])
    figure = with_validation(drawn, proteins(np.arange(20)[:, None] % 2 * scales))["latent_dimensions"]
    (active,) = (trace for trace in figure.data if trace.name == "active (2)" and trace.yaxis == "y2")
    (silent,) = (trace for trace in figure.data if trace.name == "not active (1)" and trace.yaxis == "y2")
    assert list(active.x) == ["z2", "z1"]
    assert list(silent.x) == ["z0"]
    np.testing.assert_allclose(active.y, [4.0, 0.0101])
    assert "2 of 3 latents are active" in figure.layout.meta["reading"]


def test_latents_stand_in_the_order_of_their_kld(drawn):
    figure = drawn["latent_dimensions"]
    order = np.argsort(-drawn.findings.validation.klds)
    assert list(figure.layout.xaxis.categoryarray) == [f"z{number}" for number in order]
    shown = {name: y for trace in figure.data if trace.yaxis == "y" for name, y in zip(trace.x, trace.y, strict=True)}
    np.testing.assert_allclose([shown[f"z{number}"] for number in order], drawn.findings.validation.klds[order])


def test_errors_count_every_protein_once(drawn):
    figure = drawn["errors"]
    assert sum(figure.data[0].y) == 12
    median = float(np.median(drawn.findings.validation.errors))
    assert figure.data[1].x[0] == pytest.approx(median)


def test_errors_that_are_all_alike(drawn):
    assert sum(with_validation(drawn, proteins(np.ones((5, 2))))["errors"].data[0].y) == 5


def test_the_map_has_a_point_for_every_protein_in_the_colour_of_its_label(drawn):
    figure = drawn["latent_map"]
    assert sum(len(trace.x) for trace in figure.data) == 60
    counts = {trace.name.split(" (")[0]: len(trace.x) for trace in figure.data}
    labels = [*drawn.findings.validation.labels, *drawn.findings.training.labels]
    assert counts == {label: labels.count(label) for label in set(labels)}
    assert len({trace.marker.color for trace in figure.data}) == len(counts)
    assert "PCA, as umap-learn is not installed" in figure.layout.meta["reading"]


def test_the_map_samples_many_proteins_and_says_so(drawn, monkeypatch):
    monkeypatch.setattr(latent_figures, "MAP_ROWS", 25)
    figure = drawn["latent_map"]
    assert sum(len(trace.x) for trace in figure.data) == 25
    assert "a random sample of 25 of 60 proteins" in figure.layout.meta["reading"]


def test_rare_labels_are_one_grey_group(drawn):
    labels = [f"label {number}" for number in range(30) for _ in range(40 - number)]
    mu = np.random.default_rng(0).normal(size=(len(labels), 3))
    figure = with_validation(drawn, proteins(mu, labels))["latent_map"]
    names = [trace.name for trace in figure.data]
    assert names[1:] == [f"label {number} ({40 - number})" for number in range(7)]
    assert names[0] == f"23 other labels ({len(labels) - sum(40 - number for number in range(7))})"


def test_a_data_set_without_labels(drawn):
    figure = with_validation(drawn, proteins(np.random.default_rng(0).normal(size=(30, 3))))["latent_map"]
    assert not figure.layout.showlegend
    assert "The data set has no labels" in figure.layout.meta["reading"]


def test_pca_of_one_latent_and_of_few_proteins(drawn):
    assert len(with_validation(drawn, proteins(np.arange(4.0)[:, None]))["latent_map"].data[0].x) == 4


def test_too_few_proteins(drawn):
    with pytest.raises(DataError, match="2 proteins; a map needs three"):
        with_validation(drawn, proteins(np.ones((2, 2))))["latent_map"]


def test_ids_and_labels_are_escaped(drawn):
    found = proteins(np.random.default_rng(0).normal(size=(4, 2)), ["<a href='x'>l</a>"] * 4)
    found.ids[0] = "<b>id</b>"
    (trace,) = with_validation(drawn, found)["latent_map"].data
    assert "&lt;b&gt;id&lt;/b&gt;" in trace.text
    assert trace.name.startswith("&lt;a href=")


@pytest.mark.parametrize("name", ["latent_map", "latent_dimensions", "errors"])
def test_missing_data_set(run_path, drawn, name):
    shutil.move(run_path.parent / "dataset", run_path.parent / "elsewhere")
    with pytest.raises(DataError, match="not a DATASET"):
        drawn[name]


def test_different_data_set(run_path, drawn, make_dataset):
    shutil.rmtree(run_path.parent / "dataset")
    make_dataset(60, 6, seed=5)
    with pytest.raises(DataError, match="its content changed since the search"):
        drawn["errors"]


def test_without_any_weights(searched):
    with pytest.raises(DataError, match="no trial has saved weights yet"):
        figures(searched([("running", [5.0])], model=False))["errors"]


def test_missing_labels_have_a_name(drawn):
    mu = np.random.default_rng(0).normal(size=(4, 2))
    names = {trace.name for trace in with_validation(drawn, proteins(mu, ["a", "", "a", "a"]))["latent_map"].data}
    assert names == {"a (3)", "no label (1)"}
