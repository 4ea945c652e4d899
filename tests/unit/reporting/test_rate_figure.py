"""How much each latent width keeps, and whether the rungs were good judges."""

from dataclasses import replace

import numpy as np
import pytest

from resvae_ray import names
from resvae_ray.config import DataConfig, Domain
from resvae_ray.data.stream import open_sides
from resvae_ray.errors import DataError
from resvae_ray.evaluation.reconstruction import fit_pca, rates, reconstruction
from resvae_ray.model.training import Training
from resvae_ray.progress import silent
from resvae_ray.reporting.figures import figures
from resvae_ray.reporting.latent_figures import rate_distortion
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import training_folder
from resvae_ray.search.space import training_config

WIDTHS = {"z_dim": Domain(choices=(2, 3, 5))}


@pytest.fixture
def swept(searched):
    """A RUN whose trials have saved weights; the last one was stopped early."""
    path = searched([("complete", [9.0 + n] * 9) for n in range(8)] + [("pruned", [1.0])], **WIDTHS)
    run = Run.open(path)
    sides = open_sides(figures(path).findings.dataset, DataConfig(mode="resident"))
    for record in run.records():
        config = replace(training_config(run.config, record.params), hidden_dim=8, epochs=2)
        training = Training(config, *sides, seed=record.number)
        list(training.epochs())
        training.save_best(training_folder(path, record.number))
    return path


def test_the_best_complete_trial_of_each_width_is_a_point(swept):
    findings = figures(swept).findings
    width = {record.number: record.params["z_dim"] for record in findings.ended(names.COMPLETE)}
    assert list(findings.best_by_width) == sorted(set(width.values()))
    for z_dim, saved in findings.best_by_width.items():
        assert width[saved.number] == z_dim
    pca, points = figures(swept)["rate_distortion"].data
    assert list(points.x) == list(findings.best_by_width)
    assert (np.diff(pca.y) >= 0).all()


def test_trials_that_differ_in_more_than_their_width_are_not_connected(swept):
    """Their learning rates differ, so a line would show more than the latents."""
    assert [trace.mode for trace in figures(swept)["rate_distortion"].data] == ["lines", "markers"]


def test_trials_that_differ_in_their_width_alone_are_connected(swept, monkeypatch):
    findings = figures(swept).findings
    pinned = [replace(record, params=record.params | {"lr": 1e-3}) for record in findings.records]
    findings.__dict__["snapshot"] = replace(findings.snapshot, trials=pinned)
    _, line, points = rate_distortion(findings).data
    assert (line.mode, points.mode) == ("lines", "markers")
    assert (list(line.x), list(line.y)) == (list(points.x), list(points.y))


def test_the_rates_are_those_that_evaluate_finds(swept):
    findings = figures(swept).findings
    train, val = (findings.dataset.features(side) for side in (names.TRAIN, names.VAL))
    pca = fit_pca(train, silent)
    model = findings.chosen.model
    (alone, _), together = reconstruction(model, pca, train, val, silent), rates([model], pca, val)
    assert together.models[0] == pytest.approx(alone.model.r2)
    assert together.pca[model.z_dim] == pytest.approx(alone.pca.r2)


def test_one_width_is_not_a_sweep(searched):
    with pytest.raises(DataError, match="two latent widths"):
        rate_distortion(figures(searched([("pruned", [1.0])], **WIDTHS)).findings)


def test_a_search_of_several_widths_has_the_figure(swept):
    assert "rate_distortion" in figures(swept)


def test_a_search_of_one_width_has_not(run_path):
    assert "rate_distortion" not in figures(run_path)


def test_rank_correlations_by_hand(searched):
    """At the first rung the order is the final one, at the second it is turned round."""
    curves = [[10.0 + n, 10.0 + n, 9.0 - n, *[3.0 + n / 10] * 6] for n in range(5)]
    findings = figures(searched([("complete", curve) for curve in curves])).findings
    assert findings.rungs == [1, 3]
    assert findings.rank_correlations == pytest.approx({1: 1.0, 3: -1.0})


def test_few_complete_trials_have_no_rank_correlation(searched):
    assert figures(searched([("complete", [3.0 + n] * 9) for n in range(4)])).findings.rank_correlations == {}
