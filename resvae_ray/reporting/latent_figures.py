"""Figures of trained models on the proteins: map of the latents, each latent, errors, rate against distortion."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from resvae_ray.errors import DataError
from resvae_ray.evaluation.encoded_rows import Proteins
from resvae_ray.evaluation.reconstruction import Rates, fit_pca, rates
from resvae_ray.model.latent_map import two_dimensions
from resvae_ray.model.validation import ACTIVE_RATIO
from resvae_ray.names import TRAIN, VAL
from resvae_ray.progress import silent
from resvae_ray.reporting import style
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.style import count, dressed, safe
from resvae_ray.search.export import load_weights_of
from resvae_ray.search.run.trainings import SavedWeights
from resvae_ray.search.space import describe
from resvae_ray.seeds import SHOWN_ROWS, derive

MAP_ROWS = 2000  # UMAP takes half a minute for them on one core; above that, a random sample is used
MOST_LABELS = len(style.QUALITATIVE)  # labels with a colour of their own; rarer ones are grey
BINS = 40
BEYOND = 5  # components by which the line of PCA continues beyond the widest model


def latent_map(findings: Findings) -> go.Figure:
    """The posterior means in two dimensions, coloured by label.

    Raises:
        DataError: the DATASET or the model cannot be read, or there are too few proteins.
    """
    sides = [findings.validation, findings.training]
    mu = np.concatenate([side.mu for side in sides])
    if len(mu) < 3:
        raise DataError(f"{count(len(mu), 'protein')}; a map needs three")
    order = np.random.default_rng(derive(SHOWN_ROWS, len(mu))).permutation(len(mu))[:MAP_ROWS]
    places, method = two_dimensions(mu[order])
    ids = np.array([name for side in sides for name in side.ids], dtype=object)[order]
    labels, shown = _labels(sides, order)
    figure = go.Figure()
    for position, label in enumerate(shown):
        mine = np.flatnonzero(labels == label)
        figure.add_trace(
            go.Scatter(
                x=places[mine, 0],
                y=places[mine, 1],
                mode="markers",
                name=f"{safe(_shortened(label))} ({len(mine):,})",
                marker=_marker(position, label),
                text=[safe(name) for name in ids[mine]],
                hovertemplate="%{text}<extra>%{fullData.name}</extra>",
            )
        )
    hidden = {"showticklabels": False, "showgrid": False, "mirror": True, "showline": True}
    figure.update_xaxes(hidden)
    figure.update_yaxes(hidden)
    total = sum(side.of for side in sides)
    which = "all proteins" if len(order) == total else f"a random sample of {len(order):,} of {total:,} proteins"
    reading = (
        f"Each point is a protein, near proteins with similar latents ({method}; {which}, training and validation). "
        + ("Colours and shapes show labels. " if shown != [""] else "The data set has no labels. ")
        + "Distances between well separated groups mean little."
    )
    return dressed(figure, "Map of the latents", reading, 560, showlegend=shown != [""])


def _labels(sides: list[Proteins], order: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Each shown protein's label, and the labels in the order of their numbers; rare ones have become "other"."""
    known = [label or "no label" for side in sides for label in (side.labels or [""] * len(side))]
    if not any(side.labels for side in sides):
        return np.full(len(order), "", dtype=object), [""]
    labels = np.array(known, dtype=object)[order]
    common = [label for label, _ in Counter(labels).most_common()]
    if len(common) <= MOST_LABELS:
        return labels, common
    kept = common[: MOST_LABELS - 1]
    rest = f"{len(common) - len(kept)} other labels"
    return np.where(np.isin(labels, kept), labels, rest).astype(object), [rest, *kept]


def _marker(position: int, label: str) -> dict[str, object]:
    plain = {"size": 6, "opacity": 0.8, "line": {"width": 0.4, "color": "white"}}
    if label.endswith(" other labels"):
        return {**plain, "color": "#b8c0c8", "symbol": "circle"}
    return {
        **plain,
        "color": style.QUALITATIVE[position % MOST_LABELS],
        "symbol": style.SYMBOLS[position % MOST_LABELS],
    }


def _shortened(label: str) -> str:
    return label if len(label) <= 40 else f"{label[:39]}…"


def latent_dimensions(findings: Findings) -> go.Figure:
    """KLD and signal of each latent over the validation rows.

    Raises:
        DataError: the DATASET or the model cannot be read.
    """
    proteins = findings.validation
    klds, signals = proteins.klds, proteins.signals
    order = np.argsort(-klds, kind="stable")
    active = proteins.active[order]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.09)
    places = np.array([f"z{number}" for number in order])
    for row, values in ((1, klds[order]), (2, signals[order])):
        for name, mine, colour in (("active", active, style.BLUE), ("not active", ~active, "#b8c0c8")):
            if mine.any():
                figure.add_trace(
                    go.Bar(
                        x=places[mine],
                        y=values[mine],
                        name=f"{name} ({mine.sum()})",
                        legendgroup=name,
                        showlegend=row == 1,
                        marker_color=colour,
                        hovertemplate="%{x}: %{y:.3g}<extra></extra>",
                    ),
                    row=row,
                    col=1,
                )
    figure.update_xaxes(categoryorder="array", categoryarray=places)
    figure.update_xaxes(title_text="latent, sorted by KLD", row=2, col=1)
    figure.update_yaxes(title_text="KLD, nats", row=1, col=1)
    figure.update_yaxes(title_text="variance / noise", type="log", dtick=1, range=_decades(signals), row=2, col=1)
    threshold = {"color": style.VERMILION, "dash": "dash", "width": 1.5}
    figure.add_hline(ACTIVE_RATIO, line=threshold, row=2, col=1)  # pyright: ignore[reportArgumentType]
    reading = (
        f"Each bar is a latent. Top: its KLD, the information that it carries about a protein ({klds.sum():.1f} nats "
        f"in total). Bottom: the variance of its posterior mean over {_which(proteins)}, divided by the posterior's "
        f"variance. {active.sum()} of {len(klds)} latents are active: this ratio is above {ACTIVE_RATIO} (dashed)."
    )
    return dressed(figure, "The latents, one by one", reading, 520, barmode="overlay", bargap=0.3)


def _decades(signals: np.ndarray) -> list[float]:
    """The range of an axis, in powers of ten, with the threshold clear of its bottom."""
    lowest = max(signals.min(), ACTIVE_RATIO / 1000)
    return [
        float(np.log10(min(lowest, ACTIVE_RATIO) / 3)),
        float(np.log10(max(signals.max(), ACTIVE_RATIO) * 2)),
    ]


def errors(findings: Findings) -> go.Figure:
    """Reconstruction error of the validation proteins.

    Raises:
        DataError: the DATASET or the model cannot be read.
    """
    proteins = findings.validation
    logs = np.log10(np.maximum(proteins.errors, np.finfo(np.float32).tiny))
    counts, edges = np.histogram(logs, bins=min(BINS, max(5, len(logs) // 4)))
    figure = go.Figure(
        go.Bar(
            x=10 ** ((edges[:-1] + edges[1:]) / 2),
            y=counts,
            width=np.diff(10**edges),
            marker={"color": style.SKY, "line": {"color": "white", "width": 1}},
            customdata=np.stack([10 ** edges[:-1], 10 ** edges[1:]], 1),
            hovertemplate="%{y} proteins from %{customdata[0]:.3g} to %{customdata[1]:.3g}<extra></extra>",
            showlegend=False,
        )
    )
    median, spread = float(np.median(proteins.errors)), float(np.median(proteins.spreads))
    for value, text, colour in ((median, "median", style.BLUE), (spread, "median without a model", style.VERMILION)):
        figure.add_trace(
            go.Scatter(
                x=[value, value],
                y=[0, int(counts.max()) * 1.05],
                mode="lines",
                line={"color": colour, "width": 2, "dash": "dash"},
                name=f"{text}: {style.number(value)}",
                hoverinfo="skip",
            )
        )
    figure.update_xaxes(style.log_axis(10**edges), title_text="squared error of a protein")
    figure.update_yaxes(title_text="proteins")
    reading = (
        f"Squared distance from {_which(proteins)} to their reconstructions, at the posterior mean. The second line is "
        "the error of predicting the mean protein for every protein. The further left of it, the more the latents keep."
    )
    return dressed(figure, "Reconstruction errors", reading, 420)


def _which(proteins: Proteins) -> str:
    side = "training" if proteins.side == TRAIN else "validation"
    if len(proteins) == proteins.of:
        return f"the {proteins.of:,} {side} proteins"
    return f"a random sample of {len(proteins):,} of the {proteins.of:,} {side} proteins"


def rate_distortion(findings: Findings) -> go.Figure:
    """R² of the validation rows at the posterior mean: the best complete trial of each latent width, and PCA.

    Raises:
        DataError: fewer than two latent widths, or the DATASET or the weights cannot be read.
    """
    chosen = findings.best_by_width
    if len(chosen) < 2:
        raise DataError("complete trials of at least two latent widths are needed")
    data = findings.dataset
    models = [load_weights_of(saved)[0] for saved in chosen.values()]
    found = rates(models, fit_pca(data.features(TRAIN), silent), data.features(VAL))
    figure = go.Figure([_pca_line(found, max(chosen) + BEYOND), *_connections(findings, chosen, found)])
    figure.add_trace(_models(chosen, found))
    figure.update_xaxes(title_text="latents, or principal components")
    figure.update_yaxes(title_text="variance explained (R²)", tickformat=".3~f")
    reading = (
        "Each point is the best complete trial of one latent width, at its posterior mean. The grey line is PCA with "
        "the same number of components, fitted on the training rows. Above it, the model explains more variance of the "
        "validation rows than PCA of the same width. A dotted line connects trials that differ in latent width alone."
    )
    return dressed(figure, "Rate against distortion", reading, 440)


def _connections(findings: Findings, chosen: dict[int, SavedWeights], found: Rates) -> Iterator[go.Scatter]:
    """Lines between the points whose trials have the same parameters except `z_dim`."""
    params = {record.number: record.params for record in findings.records}
    alike: dict[str, list[tuple[int, float]]] = {}
    for (width, saved), r2 in zip(chosen.items(), found.models, strict=True):
        others = {field: value for field, value in params[saved.number].items() if field != "z_dim"}
        alike.setdefault(describe(others), []).append((width, r2))
    for points in alike.values():
        if len(points) > 1:
            yield go.Scatter(
                x=[width for width, _ in points],
                y=[r2 for _, r2 in points],
                mode="lines",
                line={"color": style.BLUE, "width": 1, "dash": "dot"},
                showlegend=False,
                hoverinfo="skip",
            )


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
        mode="markers",
        name="Res-VAE, best complete trial",
        marker={"size": 9, "color": style.BLUE},
        text=[f"trial {saved.number}, loss {style.loss(saved.val_loss)}" for saved in chosen.values()],
        hovertemplate="%{x} latents: %{y:.3f}<br>%{text}<extra></extra>",
    )
