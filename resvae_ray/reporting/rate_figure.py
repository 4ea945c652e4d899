"""Rate against distortion: what is kept of the validation rows with so many latents, beside PCA's line."""

import numpy as np
import plotly.graph_objects as go

from resvae_ray import names
from resvae_ray.errors import DataError
from resvae_ray.evaluation.reconstruction import Rates, fit_pca, rates
from resvae_ray.progress import silent
from resvae_ray.reporting import style
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.style import dressed
from resvae_ray.search.export import load_weights_of
from resvae_ray.search.run.trials import SavedWeights

BEYOND = 5  # components that PCA's line goes on past the widest model


def rate_distortion(findings: Findings) -> go.Figure:
    """R² of the validation rows at the posterior mean: the best complete trial of each latent width, and PCA.

    Raises:
        DataError: fewer than two latent widths, or the DATASET or the weights cannot be read.
    """
    chosen = findings.best_by_width
    if len(chosen) < 2:
        raise DataError("trials of two latent widths that came to their end are needed")
    data = findings.dataset
    models = [load_weights_of(saved)[0] for saved in chosen.values()]
    found = rates(models, fit_pca(data.features(names.TRAIN), silent), data.features(names.VAL))
    figure = go.Figure([_pca_line(found, max(chosen) + BEYOND), _models(chosen, found)])
    figure.update_xaxes(title_text="latents, or principal components")
    figure.update_yaxes(title_text="variance explained (R²)", tickformat=".3~f")
    reading = (
        "A point is the best complete trial of that many latents; the line is PCA with as many components, fitted on "
        "the training rows. Above the line the model keeps more of a protein than PCA of the same width does. Both at "
        "the validation rows, the model at its posterior mean."
    )
    return dressed(figure, "Rate against distortion", reading, 440)


def _pca_line(found: Rates, widest: int) -> go.Scatter:
    r2 = found.pca[: widest + 1]
    return go.Scatter(
        x=np.arange(1, len(r2)),
        y=r2[1:],
        mode="lines",
        name="PCA",
        line={"color": style.GREY, "width": 2},
        hovertemplate="PCA, %{x} components: %{y:.3f}<extra></extra>",
    )


def _models(chosen: dict[int, SavedWeights], found: Rates) -> go.Scatter:
    return go.Scatter(
        x=list(chosen),
        y=found.models,
        mode="lines+markers",
        name="Res-VAE, best complete trial",
        line={"color": style.BLUE, "width": 1, "dash": "dot"},
        marker={"size": 9},
        text=[f"trial {saved.number}, loss {style.loss(saved.val_loss)}" for saved in chosen.values()],
        hovertemplate="%{x} latents: %{y:.3f}<br>%{text}<extra></extra>",
    )
