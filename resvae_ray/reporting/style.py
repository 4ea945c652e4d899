"""How figures look and how numbers are written, everywhere the same.

Colours are those of Okabe & Ito (2008), which people with any kind of colour vision tell apart; what they mean, a
marker's shape says too.
"""

import html
from typing import Any

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
SMALL = {"size": 11, "color": "#4a5561"}  # the writing of notes in a figure

STATE_COLOURS = {
    names.COMPLETE: BLUE,
    names.PRUNED: ORANGE,
    names.FAILED: VERMILION,
    names.RUNNING: GREEN,
    names.PENDING: GREY,
    names.FINALIST: PURPLE,
}
STATE_SYMBOLS = {
    names.COMPLETE: "circle",
    names.PRUNED: "x",
    names.FAILED: "triangle-up",
    names.RUNNING: "diamond",
    names.PENDING: "square",
}

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_AXIS = {
    "gridcolor": LINES,
    "linecolor": "#c3cad2",
    "zeroline": False,
    "automargin": True,
    "ticklabelstandoff": 4,
    "title": {"standoff": 8},
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
LOG_TICKS = {"type": "log", "dtick": "D2", "tickformat": "~s", "minor": {"showgrid": False}}


def dressed(
    figure: go.Figure, title: str, reading: str, height: int, *, margin: dict[str, int] | None = None, **layout: Any
) -> go.Figure:
    """The figure in the project's style; `reading` says how to read it and stands in `figure.layout.meta`."""
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
    """Text from outside as plotly is to show it: what it takes for markup in labels and hover boxes is plain there."""
    return html.escape(str(text))


def loss(value: float) -> str:
    """A validation loss."""
    return f"{value:,.2f}" if abs(value) < 1e6 else f"{value:,.0f}"


def number(value: object) -> str:
    """Any number for people: 4,064,123 and 0.000469; other things as they are."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) >= 1):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.3g}"
