"""Figures of the proposed trials and their losses: history, importances, parallel coordinates, slices.

Optuna draws importances and slices. It leaves out pruned trials, which are most of a search; the slices here show them.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.visualization import plot_param_importances, plot_slice
from plotly.colors import sample_colorscale

from resvae_ray import names
from resvae_ray.config import Domain
from resvae_ray.errors import DataError
from resvae_ray.reporting import style
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.style import count, dressed
from resvae_ray.search.run.trainings import TrainingRecord
from resvae_ray.search.space import describe

LOSS = "lowest validation loss"
DARK_TO_LIGHT = [[0, "#08306b"], [0.5, "#3f8fc5"], [1, "#b3cde3"]]  # the lowest loss is dark
SHOWN_STATES = (names.COMPLETE, names.PRUNED, names.FAILED, names.RUNNING, names.PAUSED)
FEWEST_FOR_IMPORTANCE = 10  # trials
FEWEST_FOR_BEST_TENTH = 50  # trials, for the best tenth to be more than a few lucky ones
FANOVA, PED_ANOVA = "fANOVA", "PED-ANOVA"
HOW_TO_READ = {
    FANOVA: "A long bar is a field that explains much of the differences between the trials' losses (fANOVA).",
    PED_ANOVA: "A long bar is a field that decides whether a trial is among the best tenth (PED-ANOVA).",
}


def history(findings: Findings) -> go.Figure:
    """Each trial's lowest loss, and the lowest so far.

    Raises:
        DataError: no trial has finished an epoch.
    """
    reported = _reported(findings)
    figure = go.Figure()
    for state in SHOWN_STATES:
        if trials := findings.ended(state):
            figure.add_trace(
                go.Scatter(
                    x=[record.number for record in trials],
                    y=[record.best_val_loss for record in trials],
                    mode="markers",
                    name=f"{state} ({len(trials)})",
                    marker=_marker(state),
                    text=[_about(record) for record in trials],
                    hovertemplate="%{text}<extra></extra>",
                )
            )
    figure.add_trace(
        go.Scatter(
            x=[record.number for record in reported],
            y=np.minimum.accumulate([float(record.best_val_loss or 0) for record in reported]),
            mode="lines",
            line={"shape": "hv", "color": style.INK, "width": 1.5},
            name="lowest so far",
            hoverinfo="skip",
        )
    )
    last = max(record.number for record in reported)
    shown = [-0.02 * last - 0.4, 1.02 * last + 0.4]  # no point is cut by the axis
    figure.update_xaxes(title_text="trial", range=shown, dtick=1 if last < 10 else None)
    figure.update_yaxes(style.log_axis(record.best_val_loss for record in reported), title_text=LOSS)
    reading = (
        "Each point is a trial at its lowest validation loss; the line is the lowest loss so far. "
        "Pruned trials were stopped early, so their losses come from fewer epochs."
    )
    return dressed(figure, "Optimisation history", reading, 440)


def importances(findings: Findings) -> go.Figure:
    """Importance of each searched field for the loss, at the first rung and at the end.

    Below FEWEST_FOR_BEST_TENTH trials it is the fraction of the losses' variance that a field explains (fANOVA, Hutter
    et al. 2014). From there on, how much a field decides which trials are the best tenth (PED-ANOVA, Watanabe et al.
    2023): of ten trials that tenth is one, and often names the wrong field.

    Raises:
        DataError: too few trials, or all have the same loss.
    """
    rung = findings.rungs[0] if findings.rungs else findings.run.config.training.epochs
    early, late = findings.study_at(rung), findings.complete
    figure, methods = go.Figure(), set[str]()
    for study, what, colour in (
        (early, f"loss at epoch {rung}", style.SKY),
        (late, "loss at the end", style.BLUE),
    ):
        trials = len(study.get_trials(deepcopy=False))
        if trials >= FEWEST_FOR_IMPORTANCE and _losses_differ(study):
            name = f"{what} ({count(trials, 'trial')})"
            looks = {"name": name, "marker_color": colour, "texttemplate": "%{x:.0%}"}
            figure.add_traces([bar.update(looks) for bar in _importance_bars(study)])
            methods.add(_method(study))
    if not figure.data:
        reached = len(early.get_trials(deepcopy=False))
        raise DataError(
            f"all {reached} trials have the same loss at epoch {rung}"
            if reached >= FEWEST_FOR_IMPORTANCE
            else f"{count(reached, 'trial')} came to epoch {rung}; parameter importances need {FEWEST_FOR_IMPORTANCE}"
        )
    figure.update_xaxes(title_text="importance", range=[0, 1.12], tickformat=".0%")
    figure.update_yaxes(title_text="")
    how = " ".join(text for method, text in HOW_TO_READ.items() if method in methods)
    reading = (
        f"{how} At the first rung all trials can be compared; at the end only those that ASHA let through. "
        "The fewer the trials, the rougher the estimate."
    )
    return dressed(figure, "Parameter importances", reading, 200 + 70 * len(findings.run.config.space), barmode="group")


def _losses_differ(study: optuna.Study) -> bool:
    return len({trial.value for trial in study.get_trials(deepcopy=False)}) > 1


def _method(study: optuna.Study) -> str:
    return FANOVA if len(study.get_trials(deepcopy=False)) < FEWEST_FOR_BEST_TENTH else PED_ANOVA


def _importance_bars(study: optuna.Study) -> Sequence[go.Bar]:
    evaluator = FanovaImportanceEvaluator(seed=0) if _method(study) == FANOVA else PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        # Where the best tenth is like all trials, it warns that all importances are equal; the bars say so.
        warnings.simplefilter("ignore", UserWarning)
        figure: Any = plot_param_importances(study, evaluator)
        return figure.data


def parallel_coordinates(findings: Findings) -> go.Figure:
    """The complete trials as lines through their loss and their parameters.

    Each parameter's axis spans the searched range, so that even two trials show where good values are.

    Raises:
        DataError: too few complete trials.
    """
    complete = findings.ended(names.COMPLETE)
    if len(complete) < 2:
        raise DataError(f"{count(len(complete), 'complete trial')}; parallel coordinates need two")
    losses = [float(record.best_val_loss or 0) for record in complete]
    worst_to_best = sorted(range(len(complete)), key=lambda place: -losses[place])
    space = findings.run.config.space
    axes = [_number_axis("loss", losses, min(losses), max(losses), log=False)]
    axes += [
        _field_axis(field, domain, [record.params[field] for record in complete]) for field, domain in space.items()
    ]
    shares = [_share(loss, min(losses), max(losses)) for loss in losses]
    colours = [str(colour) for colour in sample_colorscale(DARK_TO_LIGHT, shares)]
    figure = go.Figure(
        [_line(complete[place], [axis.shares[place] for axis in axes], colours[place]) for place in worst_to_best]
    )
    figure.add_trace(_colour_bar(min(losses), max(losses)))
    for place, axis in enumerate(axes):
        figure.add_shape(
            type="line", x0=place, x1=place, y0=0, y1=1, line={"color": style.GREY, "width": 1}, layer="below"
        )
        for share, text in axis.ticks:
            figure.add_annotation(x=place, y=share, text=text, **TICK)
    titles = {"tickvals": list(range(len(axes))), "ticktext": [axis.title for axis in axes], "showgrid": False}
    figure.update_xaxes(titles, range=[-0.25, len(axes) - 0.85], showline=False)
    figure.update_yaxes(visible=False, range=[-0.05, 1.05], fixedrange=True)
    reading = (
        f"Each line is one of the {len(complete)} complete trials; the darker the line, the lower the loss. An axis "
        "spans the searched range of its field: good values are where dark lines meet. Pruned trials are not shown, "
        "because their losses come from fewer epochs."
    )
    return dressed(figure, "Parallel coordinates", reading, 440, margin={"l": 48, "b": 24})


TICK = {"font": style.SMALL, "xanchor": "right", "xshift": -5, "showarrow": False, "bgcolor": "rgba(255,255,255,0.8)"}


@dataclass(frozen=True)
class _Axis:
    """An axis of the parallel coordinates.

    Attributes:
        shares: of each trial, 0 at the bottom and 1 at the top.
        ticks: their shares and texts.
    """

    title: str
    shares: list[float]
    ticks: list[tuple[float, str]]


def _field_axis(field: str, domain: Domain, values: list[Any]) -> _Axis:
    if domain.choices:
        top = len(domain.choices) - 1
        shares = {choice: _share(place, 0, top) for place, choice in enumerate(domain.choices)}
        return _Axis(
            field, [shares[value] for value in values], [(share, style.safe(c)) for c, share in shares.items()]
        )
    low, high = float(domain.low or 0), float(domain.high or 0)
    return _number_axis(field, values, low, high, log=domain.log)


def _number_axis(title: str, values: list[float], low: float, high: float, *, log: bool) -> _Axis:
    ticks = style.log_ticks(low, high) if log else style.linear_ticks(low, high)

    def share(value: float) -> float:
        return _share(np.log(value), np.log(low), np.log(high)) if log else _share(value, low, high)

    return _Axis(title, [share(value) for value in values], [(share(value), style.number(value)) for value in ticks])


def _share(value: float, low: float, high: float) -> float:
    """Position of `value` between `low` and `high`, 0 to 1; 0.5 if they are equal."""
    return float((value - low) / (high - low)) if high > low else 0.5


def _line(record: TrainingRecord, shares: list[float], colour: str) -> go.Scatter:
    return go.Scatter(
        x=list(range(len(shares))),
        y=shares,
        mode="lines",
        line={"color": colour, "width": 1.8},
        opacity=0.9,
        showlegend=False,
        text=[_about(record)] * len(shares),
        hovertemplate="%{text}<extra></extra>",
    )


def _colour_bar(low: float, high: float) -> go.Scatter:
    bar = {
        "title": {"text": LOSS, "side": "right", "font": {"size": 13}},
        "thickness": 12,
        "outlinewidth": 0,
        "tickformat": ",~r",
    }
    marker = {"color": [low, high], "colorscale": DARK_TO_LIGHT, "showscale": True, "colorbar": bar}
    return go.Scatter(x=[None, None], y=[None, None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip")


def slices(findings: Findings) -> go.Figure:
    """Each searched field against the lowest loss.

    Raises:
        DataError: no trial has finished an epoch.
    """
    reported = _reported(findings)
    figure = plot_slice(findings.study_at(None), target_name=LOSS)
    parts = [part for trace in figure.data for part in _by_state(trace, reported)]
    figure.data = []
    figure.add_traces(parts)
    figure.update_yaxes(style.log_axis(record.best_val_loss for record in reported))
    for axis in figure.select_xaxes():
        axis.update(_searched(findings.run.config.space.get(axis.title.text)))
    figure.update_layout(width=None)
    reading = (
        "Each point is a trial: the value of one field and the lowest validation loss. An axis spans the searched "
        "range. A field matters if the lowest points gather at some of its values. Pruned trials had fewer epochs."
    )
    return dressed(figure, "Slices", reading, 420)


def _searched(domain: Domain | None) -> dict[str, Any]:
    """An axis over the searched range of a field; empty for choices and for a single value."""
    if domain is None or domain.choices or domain.low == domain.high:
        return {}
    ends = np.array([domain.low, domain.high], dtype=float)
    low, high = np.log10(ends) if domain.log else ends
    margin = 0.04 * (high - low)
    kind = style.narrow_log_axis(*ends) if domain.log else {}
    return {**kind, "range": [low - margin, high + margin]}


def _by_state(trace: Any, reported: Sequence[TrainingRecord]) -> Iterator[go.Scatter]:
    """One trace per state of a subplot of Optuna's, in which a marker's colour is the trial's position in the study."""
    trials = [reported[place] for place in trace.marker.color]
    for state in SHOWN_STATES:
        mine = [place for place, record in enumerate(trials) if record.state == state]
        if mine:
            yield go.Scatter(
                x=[trace.x[place] for place in mine],
                y=[trace.y[place] for place in mine],
                xaxis=trace.xaxis,
                yaxis=trace.yaxis,
                mode="markers",
                name=state,
                legendgroup=state,
                showlegend=trace.xaxis in (None, "x"),
                marker=_marker(state),
                text=[_about(trials[place]) for place in mine],
                hovertemplate="%{text}<extra></extra>",
            )


def _reported(findings: Findings) -> list[TrainingRecord]:
    if not findings.reported:
        raise DataError("no trial has finished an epoch yet")
    return findings.reported


def _marker(state: str) -> dict[str, Any]:
    return {"color": style.STATE_COLOURS[state], "symbol": style.STATE_SYMBOLS[state], "size": 8}


def _about(record: TrainingRecord) -> str:
    """The text of a trial's hover box."""
    best = record.best or {}
    where = f"{style.loss(best[names.VAL_LOSS])} at epoch {best[names.EPOCH]}"
    lines = [
        f"<b>trial {record.number}</b>, {record.state} after {count(record.last_epoch, 'epoch')}",
        f"lowest loss {where}",
        style.safe(describe(record.params)),
    ]
    return "<br>".join(lines)
