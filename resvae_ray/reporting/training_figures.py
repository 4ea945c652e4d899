"""Figures of the trainings: learning curves with early stopping, the timeline of all nodes, retrained finalists."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from resvae_ray import names
from resvae_ray.config import PROMOTE
from resvae_ray.errors import DataError
from resvae_ray.progress import duration
from resvae_ray.reporting import style
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.style import count, dressed
from resvae_ray.search.run.epoch_log import EpochRow
from resvae_ray.search.run.finalists import Finalist
from resvae_ray.search.run.trainings import TrainingRecord

# Later ones are drawn on top.
LAYERS = (names.PRUNED, names.PAUSED, names.FAILED, names.COMPLETE, names.RUNNING, names.FINALIST)
UNITS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))  # of the timeline: the largest that gives over two
PAUSE_EPOCHS = 5  # a trial paused if it reported nothing for the time of 5 epochs
PAUSE_S = 60.0  # and for at least a minute
CLOCK_S = 1.0  # tolerance: the driver sets a report's time when it arrives, up to a second or one epoch late


def learning_curves(findings: Findings) -> go.Figure:
    """The running minimum of each trial's validation loss, the rungs, and the trials that ended there.

    Raises:
        DataError: no trial has finished an epoch.
    """
    if not findings.reported or not findings.best:
        raise DataError("no trial has finished an epoch yet")
    figure = go.Figure()
    for state in LAYERS:
        if trials := findings.ended(state):
            figure.add_trace(_curves(trials, f"{state} ({len(trials)})", style.STATE_COLOURS[state], 1.1, 0.55))
    if stopped := findings.ended(names.PRUNED):
        figure.add_trace(_ends(stopped))
    best = next(record for record in findings.reported if record.number == findings.best.number)
    figure.add_trace(_curves([best], f"best: trial {best.number}", style.INK, 2.4, 1.0))
    for rung in findings.rungs:
        figure.add_vline(
            rung,
            line={"color": style.GREY, "dash": "dot", "width": 1},
            annotation={"text": _at_rung(findings, rung), "textangle": 90, "font": style.SMALL},
            annotation_position="top right",
        )
    figure.update_xaxes(title_text="epoch", range=[1, max(2, findings.run.config.training.epochs * 1.02)])
    losses = [row[names.VAL_LOSS] for record in findings.reported for row in record.epochs]
    figure.update_yaxes(style.log_axis(losses), title_text="lowest validation loss so far")
    return dressed(figure, "Learning curves", _saving(findings), 500)


def _at_rung(findings: Findings, rung: int) -> str:
    stopped, waiting = findings.stopped.get(rung, 0), findings.waiting.get(rung, 0)
    return f"{waiting} paused" if waiting and not stopped else f"{stopped} stopped"


def _saving(findings: Findings) -> str:
    saved, length = findings.epochs_saved, findings.run.config.training.epochs
    trained = sum(len(record.epochs) for record in findings.reported)
    asked = saved + trained
    stopped = [f"{many} at epoch {epoch}" for epoch, many in findings.stopped.items()]
    if waiting := [f"{many} at epoch {epoch}" for epoch, many in findings.waiting.items()]:
        return (
            "Each line is the lowest validation loss of a trial so far, which ASHA compares at the rungs (dotted). "
            f"Paused there, and may continue: {_listed(waiting)}."
        )
    if not findings.rungs:
        return "Each line is the lowest validation loss of a trial so far. Every trial trains to its full length."
    if not stopped:
        return "Each line is the lowest validation loss of a trial so far. ASHA stopped no trial at the rungs (dotted)."
    verb = "did not promote" if findings.run.config.search.scheduler == PROMOTE else "stopped"
    return (
        "Each line is the lowest validation loss of a trial so far, which ASHA compares at the rungs (dotted). A cross "
        f"marks a trial that ASHA {verb}: {_listed(stopped)}. That saved {saved:,} of {asked:,} epochs "
        f"({saved / asked:.0%}), relative to {length} epochs for each of these trials."
    )


def _listed(parts: list[str]) -> str:
    """a, b and c."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def _curves(trials: list[TrainingRecord], name: str, colour: str, width: float, opacity: float) -> go.Scatter:
    """The trials' curves as one trace, with a gap after each."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for record in trials:
        losses = np.minimum.accumulate([row[names.VAL_LOSS] for row in record.epochs])
        x += [*(row[names.EPOCH] for row in record.epochs), None]
        y += [*losses.tolist(), None]
        text += [f"trial {record.number}"] * (len(losses) + 1)
    return go.Scatter(
        x=x,
        y=y,
        text=text,
        name=name,
        mode="lines",
        line={"color": colour, "width": width},
        opacity=opacity,
        hovertemplate="%{text}, epoch %{x}: %{y:,.0f}<extra></extra>",
    )


def _ends(stopped: list[TrainingRecord]) -> go.Scatter:
    return go.Scatter(
        x=[record.last_epoch for record in stopped],
        y=[record.best_val_loss for record in stopped],
        mode="markers",
        marker={"color": style.STATE_COLOURS[names.PRUNED], "symbol": "x", "size": 6},
        name="stopped here",
        showlegend=False,
        text=[f"trial {record.number} stopped after epoch {record.last_epoch}" for record in stopped],
        hovertemplate="%{text}: %{y:,.0f}<extra></extra>",
    )


@dataclass(frozen=True)
class Stretch:
    """A trial at work on one node without a pause, in seconds since 1970."""

    trial: TrainingRecord
    node: str
    start: float
    end: float


def stretches(trial: TrainingRecord) -> Iterator[Stretch]:
    """When and where a trial was at work; a new stretch begins on another node and after a pause."""
    begun: EpochRow | None = None
    last: EpochRow | None = None
    for row in sorted(trial.epochs, key=lambda row: row[names.TIME]):
        if begun and last and (row[names.NODE] != last[names.NODE] or _paused(last, row)):
            yield Stretch(trial, str(last[names.NODE]), _start(begun), last[names.TIME])
            begun = None
        begun, last = begun or row, row
    if begun and last:
        yield Stretch(trial, str(last[names.NODE]), _start(begun), last[names.TIME])


def _start(row: EpochRow) -> float:
    return row[names.TIME] - row[names.SECONDS]


def _paused(before: EpochRow, after: EpochRow) -> bool:
    gap = _start(after) - before[names.TIME]
    return gap > max(PAUSE_S, PAUSE_EPOCHS * after[names.SECONDS])


def timeline(findings: Findings) -> go.Figure:
    """Each node's trials over time: one row per trial that a node ran at the same time.

    Raises:
        DataError: no trial has finished an epoch.
    """
    trained = [*findings.reported, *findings.retrained]
    found = sorted((part for record in trained for part in stretches(record)), key=lambda part: part.start)
    if not found:
        raise DataError("no trial has finished an epoch yet")
    zero, end = found[0].start, max(part.end for part in found)
    unit, seconds = next((unit, seconds) for unit, seconds in UNITS if end - zero > 2 * seconds or seconds == 1)
    lanes = _lanes(found)
    figure = go.Figure()
    for state in LAYERS:
        mine = [(part, lane) for part, lane in zip(found, lanes, strict=True) if part.trial.state == state]
        if mine:
            figure.add_trace(_bars(mine, state, zero, seconds))
    rows = sorted(set(lanes))
    figure.update_xaxes(title_text=f"{unit} since the first epoch")
    figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1])
    figure.update_layout(barmode="overlay", bargap=0.25, uniformtext={"minsize": 9, "mode": "hide"})
    nodes = len({part.node for part in found})
    reading = (
        f"Each bar is a trial at work, with its number; {count(nodes, 'node')}, up to {count(len(rows), 'trial')} at a "
        "time. Short bars are trials that were stopped early; gaps are pauses. Finalists are retrained at the end."
    )
    return dressed(figure, "Timeline", reading, 210 + 44 * len(rows))


def _lanes(found: list[Stretch]) -> list[str]:
    """The row of each stretch: the first one of its node that is free; `found` is in the order of time."""
    free: dict[str, list[float]] = {}
    lanes = []
    for part in found:
        ends = free.setdefault(part.node, [])
        late = min(CLOCK_S, part.trial.epochs[0][names.SECONDS])
        lane = next((place for place, end in enumerate(ends) if end <= part.start + late), len(ends))
        ends[lane : lane + 1] = [part.end]
        lanes.append(f"{style.safe(part.node)} · {lane + 1:02d}")
    return lanes


def _bars(placed: list[tuple[Stretch, str]], state: str, zero: float, unit: float) -> go.Bar:
    parts = [part for part, _ in placed]
    return go.Bar(
        base=[(part.start - zero) / unit for part in parts],
        x=[(part.end - part.start) / unit for part in parts],
        y=[lane for _, lane in placed],
        orientation="h",
        name=state,
        marker={"color": style.STATE_COLOURS[state], "line": {"color": "white", "width": 1}},
        text=[str(part.trial.number) for part in parts],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        textfont={"color": "white" if state in (names.COMPLETE, names.FAILED) else style.INK},
        customdata=[
            f"trial {part.trial.number}, {state}<br>{duration(part.end - part.start)} on {style.safe(part.node)}"
            for part in parts
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def finalists(findings: Findings) -> go.Figure:
    """Each finalist's loss in the search, its losses under fresh seeds and their mean.

    Raises:
        DataError: none has been retrained yet.
    """
    found = [finalist for finalist in findings.finalists if finalist.losses]
    if not found:
        raise DataError("no finalist has been trained again yet")
    figure = go.Figure()
    rows = [f"trial {finalist.number}" for finalist in found]
    means = [finalist.mean for finalist in found]
    figure.add_trace(_marks("a fresh seed", *_seeds(found), style.BLUE, "circle", 9))
    figure.add_trace(_marks("their mean", means, rows, style.INK, "line-ns-open", 26))
    figure.add_trace(_marks("in the search", [f.search_loss for f in found], rows, style.ORANGE, "diamond", 10))
    figure.update_xaxes(title_text="lowest validation loss", tickformat=",~r")
    figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1])
    return dressed(figure, "Finalists", _choice(findings), 200 + 48 * len(rows))


def _choice(findings: Findings) -> str:
    repeats = [repeat for finalist in findings.finalists for repeat in finalist.repeats]
    ended = sum(repeat.ended for repeat in repeats)
    chosen = findings.winner
    said = (
        f"Trial {chosen.number} was chosen: the lowest mean among the finalists with the most successful trainings."
        if chosen and ended == len(repeats)
        else f"{ended} of {len(repeats)} trainings have ended; then the lowest mean is chosen."
    )
    return (
        "Each circle is a full training of the configuration under a fresh seed; the upright line is their mean. The "
        "distance from the diamond to the mean is the overtuning gap: the part of the search's loss that was luck. If "
        f"a trial was stopped early, its diamond comes from fewer epochs and shows no gap. {said}"
    )


def _seeds(found: list[Finalist]) -> tuple[list[float], list[str]]:
    pairs = [(loss, f"trial {finalist.number}") for finalist in found for loss in finalist.losses]
    return [loss for loss, _ in pairs], [row for _, row in pairs]


def _marks(name: str, x: list, y: list[str], colour: str, symbol: str, size: int) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y,
        name=name,
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": size, "line": {"width": 2, "color": colour}},
        hovertemplate="%{y}, " + name + ": %{x:,.2f}<extra></extra>",
    )
