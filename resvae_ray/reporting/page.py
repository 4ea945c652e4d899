"""The HTML page of a report, rendered from `templates/page.html`: one file that loads nothing.

Jinja2 escapes every text that is put into the page, so names, labels and paths from outside are shown as text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from resvae_ray.progress import duration
from resvae_ray.reporting.style import Figure, count, loss, number, percent

TOP_MARGIN = 16  # px above a figure's axes: the page shows the title, so plotly.js does not


@dataclass(frozen=True)
class PageFigure:
    """A figure for the page, or the reason why there is none.

    Attributes:
        reading: how to read it.
        height: px.
        content: plotly's data and layout, without the title.
        missing: why the figure could not be drawn; None if it could.
    """

    title: str
    reading: str = ""
    height: int = 0
    content: Mapping[str, Any] | None = None
    missing: str | None = None


def page_figure(figure: Figure) -> PageFigure:
    """A figure in the style of `style.dressed`, for the page."""
    content = figure.to_plotly_json()
    meta, height = content["layout"]["meta"], content["layout"]["height"]
    layout = {key: value for key, value in content["layout"].items() if key != "title"}
    layout["margin"] = {**layout["margin"], "t": TOP_MARGIN}
    return PageFigure(meta["title"], meta["reading"], height, {"data": content["data"], "layout": layout})


def environment() -> Environment:
    """Jinja2 with the templates of this folder; `tojson` writes JSON that is safe in a script element."""
    found = Environment(
        loader=PackageLoader("resvae_ray.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"loss": loss, "number": number, "percent": percent, "counted": count, "duration": duration}
    found.policies["json.dumps_function"] = to_json_plotly
    found.policies["json.dumps_kwargs"] = {}
    return found


def render_page(values: Mapping[str, Any], figures: Mapping[str, PageFigure]) -> str:
    """The whole file; plotly.js, style and script are inside it.

    Args:
        values: by the names that `templates/page.html` uses; see `sections.page_values`.
        figures: by name.
    """
    template = environment().get_template("page.html")
    return template.render(values, figures=figures, plotly_js=Markup(get_plotlyjs()))  # noqa: S704, plotly's own file
