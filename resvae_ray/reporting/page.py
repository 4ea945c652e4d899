"""HTML: one page that needs nothing but itself, and the parts it is made of.

Whatever is not Html is escaped where it is put in, so that names, labels and paths are shown and never carried out. The
page's policy forbids it to load anything, from wherever.
"""

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from resvae_ray.reporting.style import Figure

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
TOP_MARGIN = 16  # px above a figure's axes: its title is the page's


class Html(str):
    """Markup; other text is escaped."""


def put(part: object) -> Html:
    """Any text as markup."""
    return part if isinstance(part, Html) else Html(html.escape(str(part)))


def joined(parts: Iterable[object]) -> Html:
    """The parts one after another."""
    return Html("\n".join(put(part) for part in parts))


def element(tag: str, content: object, css: str = "") -> Html:
    """`<tag class="css">content</tag>`."""
    return Html(f'<{tag} class="{css}">{put(content)}</{tag}>' if css else f"<{tag}>{put(content)}</{tag}>")


def paragraph(text: object, css: str = "") -> Html:
    """A paragraph."""
    return element("p", text, css)


def table(head: Sequence[object], rows: Iterable[Sequence[object]], css: str = "numbers") -> Html:
    """A table that scrolls sideways where the page is narrow; without a head, if that is empty."""
    top = element("thead", element("tr", joined(element("th", name) for name in head))) if head else Html("")
    body = element("tbody", joined(element("tr", joined(element("td", cell) for cell in row)) for row in rows))
    return element("div", element("table", joined([top, body]), css), "scroll")


def panel(*parts: object) -> Html:
    """The parts in a frame."""
    return element("div", joined(parts), "panel")


def cards(values: Iterable[tuple[object, object]]) -> Html:
    """Figures that matter most, each with what it is."""
    shown = (element("div", joined([element("b", value), element("span", what)]), "card") for value, what in values)
    return element("div", joined(shown), "cards")


def folded(summary: str, content: Html) -> Html:
    """What is seen when it is asked for."""
    return element("details", joined([element("summary", summary), content]))


@dataclass(frozen=True)
class Section:
    """A part of the page that the table of contents leads to."""

    anchor: str
    title: str
    content: Html

    @property
    def html(self) -> Html:
        """The part as it stands on the page."""
        return Html(f'<section id="{put(self.anchor)}">{element("h2", self.title)}{self.content}</section>')


def plot(name: str, figure: Figure, *, wide: bool = False) -> Html:
    """A figure with its title, how to read it and its data; a wide one scrolls sideways on a narrow page."""
    content = figure.to_plotly_json()
    meta, height = content["layout"]["meta"], content["layout"]["height"]
    layout = {key: value for key, value in content["layout"].items() if key != "title"}
    layout["margin"] = {**layout["margin"], "t": TOP_MARGIN}
    data = as_json({"data": content["data"], "layout": layout})
    parts = (
        f'<figure id="{name}" class="{"wide" if wide else ""}">{element("h3", meta["title"])}'
        f"<figcaption>{put(meta['reading'])}</figcaption>"
        f'<div class="scroll"><div class="plot" id="plot-{name}" style="height:{height}px"></div></div>'
        f'<script type="application/json" id="plot-{name}-data">{data}</script></figure>'
    )
    return Html(parts)


def no_plot(name: str, title: str, reason: str) -> Html:
    """What stands where a figure cannot."""
    return Html(f'<figure id="{name}">{element("h3", title)}{paragraph(f"No figure: {reason}.", "missing")}</figure>')


def as_json(content: object) -> str:
    """JSON that may stand in a script element: no text in it can end that."""
    text = json.dumps(json.loads(str(to_json_plotly(content))), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def page(title: str, head: Html, sections: Sequence[Section], foot: str) -> str:
    """The whole file: plotly.js, style and script stand in it."""
    links = joined(Html(f'<a href="#{put(part.anchor)}">{put(part.title)}</a>') for part in sections)
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{put(title)}</title>",
            f"<style>{_resource('page.css')}</style>",
            "</head>\n<body>",
            f"<header><div>{head}</div></header>",
            f'<nav aria-label="contents"><div>{links}</div></nav>',
            f"<main>{joined(part.html for part in sections)}</main>",
            f"<footer>{put(foot)}</footer>",
            "<noscript>The figures need JavaScript; they lie beside this page as PNG and SVG.</noscript>",
            f"<script>{get_plotlyjs()}</script>",
            f"<script>{_resource('page.js')}</script>",
            "</body>\n</html>\n",
        ]
    )


def _resource(name: str) -> str:
    return (files("resvae_ray.reporting") / name).read_text()
