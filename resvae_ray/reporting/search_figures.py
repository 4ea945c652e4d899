"""Figures of what was proposed and what came of it: history, importances, parallel coordinates, slices.

Optuna draws what it can; where it leaves out pruned trials, which are most of a search, they are put in.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.visualization import plot_parallel_coordinate, plot_param_importances, plot_slice
from plotly.colors import sample_colorscale

from resvae_ray import names
from resvae_ray.errors import DataError
from resvae_ray.reporting import style
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.style import count, dressed
from resvae_ray.search.run.trials import TrialRecord
from resvae_ray.search.space import describe

LOSS = "lowest validation loss"
DARK_TO_LIGHT = [[0, "#08306b"], [0.5, "#3f8fc5"], [1, "#b3cde3"]]  # the lowest loss is dark
SHOWN_STATES = (names.COMPLETE, names.PRUNED, names.FAILED, names.RUNNING)
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
        DataError: no trial has come to an epoch.
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
    figure.update_yaxes(title_text=LOSS, **style.LOG_TICKS)
    reading = (
        "A point is a trial at its lowest validation loss; the line is the lowest so far. "
        "A pruned trial was stopped early, so its point stands for fewer epochs than a complete one's."
    )
    return dressed(figure, "Optimisation history", reading, 440)


def importances(findings: Findings) -> go.Figure:
    """How much each searched field matters for the loss, at the first rung and at the end.

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
        return plot_param_importances(study, evaluator).data


def parallel_coordinates(findings: Findings) -> go.Figure:
    """The complete trials as lines through their parameters.

    Raises:
        DataError: too few complete trials.
    """
    complete = len(findings.complete.get_trials(deepcopy=False))
    if complete < 2:
        raise DataError(f"{count(complete, 'complete trial')}; parallel coordinates need two")
    figure = plot_parallel_coordinate(findings.complete, target_name="loss")
    _recolour(figure, [trial.value or 0.0 for trial in findings.complete.get_trials(deepcopy=False)])
    reading = (
        f"A line is one of the {complete} complete trials, the darker the lower its loss: where dark lines meet on an "
        "axis, good values lie. Pruned trials are left out, their losses are of fewer epochs."
    )
    return dressed(figure, "Parallel coordinates", reading, 440, margin={"l": 64, "b": 48})


def _recolour(figure: go.Figure, losses: list[float]) -> None:
    """Gives the lines colours that can be seen on white: Optuna's begin with white itself."""
    low, high = min(losses), max(losses)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    places = [(loss - low) / (high - low) if high > low else 0.0 for loss in losses]
    for line, colour in zip(lines, sample_colorscale(DARK_TO_LIGHT, places), strict=True):
        line.update(line={"color": colour, "width": 1.6}, opacity=0.85)
    figure.for_each_annotation(
        lambda note: note.update(bgcolor="rgba(255,255,255,0.8)", text=_readable(note.text), font=style.SMALL)
    )
    bar = {"title": {"text": ""}, "thickness": 12, "outlinewidth": 0, "tickformat": "~s"}
    figure.update_traces(
        {"marker": {"colorscale": DARK_TO_LIGHT, "reversescale": False, "colorbar": bar}}, {"mode": "markers"}
    )


def _readable(text: str) -> str:
    """3.22e+04 as 32,200."""
    try:
        return f"{float(text):,.0f}" if "e+" in text else text
    except ValueError:
        return text


def slices(findings: Findings) -> go.Figure:
    """Each searched field against the lowest loss.

    Raises:
        DataError: no trial has come to an epoch.
    """
    reported = _reported(findings)
    figure = plot_slice(findings.study_at(None), target_name=LOSS)
    parts = [part for trace in figure.data for part in _by_state(trace, reported)]
    figure.data = []
    figure.add_traces(parts)
    figure.update_yaxes(style.LOG_TICKS)
    figure.for_each_xaxis(lambda axis: axis.update(dtick=1, tickformat="~g") if axis.type == "log" else None)
    figure.update_layout(width=None)
    reading = (
        "A point is a trial: the value of one field against the lowest validation loss. A field matters where the "
        "lowest points gather; pruned trials had fewer epochs."
    )
    return dressed(figure, "Slices", reading, 420)


def _by_state(trace: Any, reported: Sequence[TrialRecord]) -> Iterator[go.Scatter]:
    """One of Optuna's subplots, whose colours are the places of the trials in the study, a trace a state."""
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


def _reported(findings: Findings) -> list[TrialRecord]:
    if not findings.reported:
        raise DataError("no trial has come to the end of an epoch yet")
    return findings.reported


def _marker(state: str) -> dict[str, Any]:
    return {"color": style.STATE_COLOURS[state], "symbol": style.STATE_SYMBOLS[state], "size": 8}


def _about(record: TrialRecord) -> str:
    """What a hover box says of a trial."""
    best = record.best or {}
    where = f"{style.loss(best[names.VAL_LOSS])} at epoch {best[names.EPOCH]}"
    lines = [
        f"<b>trial {record.number}</b>, {record.state} after {count(record.last_epoch, 'epoch')}",
        f"lowest loss {where}",
        style.safe(describe(record.params)),
    ]
    return "<br>".join(lines)
