"""The style of all figures and the format of all numbers of a report.

The colours are those of Okabe & Ito (2008), which readers with any colour vision can distinguish. Each meaning of a
colour is also shown by a marker's shape.
"""

import html
from collections.abc import Iterable
from typing import Any

import numpy as np

from resvae_ray import names
from resvae_ray.extras import require
from resvae_ray.wording import count as count

try:
    import plotly.graph_objects as go
except ModuleNotFoundError:
    require("insight", "plotly")
    raise

Figure = go.Figure

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, INK, GREY = "#56B4E9", "#CC79A7", "#1f2933", "#8a94a0"
QUALITATIVE = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, "#6f5f00", INK)
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "star", "pentagon")
LINES = "#e4e7eb"
SMALL = {"size": 11, "color": "#4a5561"}  # font of notes in a figure

STATE_COLOURS = {
    names.COMPLETE: BLUE,
    names.PRUNED: ORANGE,
    names.FAILED: VERMILION,
    names.RUNNING: GREEN,
    names.PAUSED: SKY,
    names.PENDING: GREY,
    names.FINALIST: PURPLE,
}
STATE_SYMBOLS = {
    names.COMPLETE: "circle",
    names.PRUNED: "x",
    names.FAILED: "triangle-up",
    names.RUNNING: "diamond",
    names.PAUSED: "diamond-open",
    names.PENDING: "square",
}

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_AXIS = {
    "gridcolor": LINES,
    "linecolor": "#c3cad2",
    "zeroline": False,
    "automargin": True,
    "ticklabelstandoff": 4,
    "title": {"standoff": 8, "font": {"size": 13}},
    "exponentformat": "none",
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": list(QUALITATIVE),
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"font": {"family": FONT, "size": 13}, "align": "left"},
        "hovermode": "closest",
    }
)
DECADES_PER_TICK = 0.5  # between 0.3 and 0.7 decades, plotly.js labels 1, 2 and 5 of each decade


def log_axis(values: Iterable[float | None]) -> dict[str, Any]:
    """A logarithmic axis with several labelled ticks for `values`, even if they span less than a decade.

    plotly.js places the ticks, also after a zoom; without `nticks` it crowds them or labels powers of ten alone.
    """
    logs = np.log10([value for value in values if value is not None and value > 0] or [1.0])
    shown = 1.1 * float(logs.max() - logs.min())  # plotly.js leaves a margin around the values
    ticks = 5 if shown < 1 or shown > 5 else max(2, round(shown / DECADES_PER_TICK))
    return {"type": "log", "nticks": ticks, "tickformat": ",~r"}


def narrow_log_axis(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis from `low` to `high` with at least two labelled ticks, but few: its labels are long."""
    shown = 1.1 * float(np.log10(high / low))
    ticks = max(3, int(np.ceil(shown)))  # plotly.js labels every power of ten up to one decade per tick
    return {"type": "log", "nticks": ticks, "tickformat": ",~r"}


def linear_ticks(low: float, high: float) -> list[float]:
    """Three to seven round values from `low` to `high`."""
    if high <= low:
        return [low]
    rough = (high - low) / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(step for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9)) * power
    first, last = np.ceil(low / step - 1e-9) + 0.0, np.floor(high / step + 1e-9)  # + 0.0 turns -0.0 into 0
    return [float(f"{place * step:.12g}") for place in np.arange(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times each power of ten from `low` to `high`; powers of ten alone if they are more than four."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    leads = (1,) if high / low > 1e4 else (1, 2, 5)
    found = [float(f"{lead}e{power}") for power in powers for lead in leads]
    return [value for value in found if low <= value <= high] or [low, high]


def dressed(
    figure: go.Figure, title: str, reading: str, height: int, *, margin: dict[str, int] | None = None, **layout: Any
) -> go.Figure:
    """The figure in the project's style; `figure.layout.meta` keeps its title and `reading`, how to read it."""
    figure.update_layout(
        template=TEMPLATE,
        title={"text": title, "x": 0, "xref": "paper", "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 16}},
        meta={"title": title, "reading": reading},
        height=height,
        margin={"l": 12, "r": 20, "t": 92, "b": 16} | (margin or {}),
        **layout,
    )
    return figure


def safe(text: object) -> str:
    """Escapes text from outside, because plotly.js renders some HTML in labels and hover boxes."""
    return html.escape(str(text))


def loss(value: float) -> str:
    """A validation loss."""
    return f"{value:,.2f}" if abs(value) < 1e6 else f"{value:,.0f}"


def number(value: object) -> str:
    """4,064,123 or 0.000469; a value that is not a number is unchanged."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) >= 1):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(fraction: float) -> str:
    """98.0%."""
    return f"{fraction:.1%}"
