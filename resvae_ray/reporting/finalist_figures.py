"""Figure of the final round: what fresh seeds made of the best configurations."""

import plotly.graph_objects as go

from resvae_ray.errors import DataError
from resvae_ray.reporting import style
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.style import dressed
from resvae_ray.search.run.finalists import Finalist


def finalists(findings: Findings) -> go.Figure:
    """Each finalist's loss in the search, its losses under fresh seeds, and their mean.

    Raises:
        DataError: none was trained again yet.
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
    figure.update_xaxes(title_text="lowest validation loss")
    figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1])
    return dressed(figure, "Finalists", _reading(findings), 200 + 48 * len(rows))


def _reading(findings: Findings) -> str:
    repeats = [repeat for finalist in findings.finalists for repeat in finalist.repeats]
    ended = sum(repeat.ended for repeat in repeats)
    chosen = findings.winner
    said = (
        f"Trial {chosen.number} was chosen: the lowest mean of those that came through most often."
        if chosen and ended == len(repeats)
        else f"{ended} of {len(repeats)} trainings have ended; then the lowest mean is chosen."
    )
    return (
        "A circle is one training of the configuration in full under a fresh seed; how far their mean (upright) lies "
        "to the right of the diamond is the overtuning gap: what was luck in the search. (The diamond of a trial that "
        f"was stopped early is no full training's, and says nothing of luck.) {said}"
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


def finalist_rows(found: list[Finalist]) -> list[list[str]]:
    """A table of them, the header first."""
    header = ["trial", "in the search", "mean over fresh seeds", "± sd", "overtuning gap", "seeds", "failed"]
    return [header, *map(_row, found)]


def _row(finalist: Finalist) -> list[str]:
    early = "" if finalist.complete else f", stopped at epoch {finalist.search_epochs}"
    return [
        str(finalist.number),
        f"{style.loss(finalist.search_loss)}{early}",
        *("–" if value is None else style.loss(value) for value in (finalist.mean, finalist.sd)),
        "–" if finalist.gap is None else f"{finalist.gap:+,.2f}",
        str(len(finalist.losses)),
        str(finalist.failed),
    ]
