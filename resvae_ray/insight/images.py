"""Figures as PNG and SVG. They are drawn by plotly.js, as on the page, in a Chrome or Chromium that kaleido starts."""

import logging
from collections.abc import Mapping
from pathlib import Path

from resvae_ray.insight.style import Figure

WIDTH = 1000  # px
SCALE = 2  # pixels of a PNG a px
NEEDED = "PNG and SVG need kaleido (the extra `insight`) and a Chrome or Chromium (Debian: apt install chromium)"


def write_images(figures: Mapping[str, Figure], folder: Path) -> str | None:
    """Writes NAME.png and NAME.svg for each figure into `folder`; one browser draws them all.

    Returns:
        None, or why there are none.
    """
    try:
        from choreographer.errors import BrowserFailedError, ChromeNotFoundError
        from kaleido import write_fig_from_object_sync
    except ImportError:
        return f"{NEEDED}; kaleido is not installed"
    folder.mkdir()
    logging.getLogger("kaleido").setLevel(logging.ERROR)
    wanted = [_wanted(figure, folder / f"{name}.{kind}") for name, figure in figures.items() for kind in ("png", "svg")]
    try:
        # Without MathJax, which it would fetch from the network.
        failed = write_fig_from_object_sync(wanted, kopts={"mathjax": False})
    except ChromeNotFoundError:
        return f"{NEEDED}; no browser was found"
    except (BrowserFailedError, OSError, RuntimeError, TimeoutError) as error:
        return f"{NEEDED}; the browser did not start: {' '.join(str(error).split())}"
    return f"not all PNG and SVG could be drawn: {failed[0]}" if failed else None


def _wanted(figure: Figure, path: Path) -> dict[str, object]:
    options = {"format": path.suffix[1:], "width": WIDTH, "height": figure["layout"]["height"]}
    return {"fig": figure, "path": path, "opts": options | ({"scale": SCALE} if path.suffix == ".png" else {})}
