"""The figures of a RUN by name, plotly figures that are drawn on first access, and all of them as PNG and SVG.

    figures = resvae_ray.figures("run")
    list(figures)                           # their names
    figures["learning_curves"].show()

For PNG and SVG, kaleido starts a Chrome or Chromium, in which plotly.js draws the figures as on the page.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from resvae_ray.errors import ResVAERayError
from resvae_ray.reporting import style  # first: if plotly is missing, it says how to install it
from resvae_ray.reporting.latent_figures import errors, latent_dimensions, latent_map, rate_distortion
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.search_figures import history, importances, parallel_coordinates, slices
from resvae_ray.reporting.style import Figure
from resvae_ray.reporting.training_figures import finalists, learning_curves, timeline
from resvae_ray.search.run.run import Run

WIDTH = 1000  # px
SCALE = 2  # pixels of a PNG per px
NEEDED = "PNG and SVG need kaleido (the extra `insight`) and a Chrome or Chromium (Debian: apt install chromium)"


def write_images(figures: Mapping[str, Figure], folder: Path) -> str | None:
    """Writes NAME.png and NAME.svg of each figure into `folder`, all with one browser.

    Returns:
        the reason if images cannot be written, else None.
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
        # without MathJax, which kaleido would download
        failed = write_fig_from_object_sync(wanted, kopts={"mathjax": False})
    except ChromeNotFoundError:
        return f"{NEEDED}; no browser was found"
    except (BrowserFailedError, OSError, RuntimeError, TimeoutError) as error:
        return f"{NEEDED}; the browser did not start: {' '.join(str(error).split())}"
    return f"not all PNG and SVG could be drawn: {failed[0]}" if failed else None


def _wanted(figure: Figure, path: Path) -> dict[str, object]:
    options = {"format": path.suffix[1:], "width": WIDTH, "height": figure["layout"]["height"]}
    return {"fig": figure, "path": path, "opts": options | ({"scale": SCALE} if path.suffix == ".png" else {})}


DRAWN: dict[str, Callable[[Findings], style.Figure]] = {
    draw.__name__: draw
    for draw in (
        history,
        learning_curves,
        timeline,
        finalists,
        importances,
        parallel_coordinates,
        slices,
        latent_map,
        latent_dimensions,
        errors,
        rate_distortion,
    )
}

OF_SEVERAL_TRIALS = tuple(draw.__name__ for draw in (history, importances, parallel_coordinates, slices))

TITLES = {
    "history": "Optimisation history",
    "learning_curves": "Learning curves",
    "timeline": "Timeline",
    "finalists": "Finalists",
    "importances": "Parameter importances",
    "parallel_coordinates": "Parallel coordinates",
    "slices": "Slices",
    "latent_map": "Map of the latents",
    "latent_dimensions": "The latents, one by one",
    "errors": "Reconstruction errors",
    "rate_distortion": "Rate against distortion",
}


class Figures(Mapping[str, style.Figure]):
    """All figures of a report by name; each is drawn on first access and kept.

    Access raises DataError, with the reason, if the RUN lacks the data for the figure.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        search = findings.run.config.search
        asked_for = {
            **dict.fromkeys(OF_SEVERAL_TRIALS, search.most_trials > 1),
            finalists.__name__: search.finalists > 0,
            rate_distortion.__name__: _several_widths(findings),
        }
        self._names = [name for name in DRAWN if asked_for.get(name, True)]
        self._drawn: dict[str, style.Figure] = {}

    def __getitem__(self, name: str) -> style.Figure:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._drawn:
            self._drawn[name] = DRAWN[name](self.findings)
        return self._drawn[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Figures of {self.findings.run.where}: {', '.join(self)}"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)


def _several_widths(findings: Findings) -> bool:
    try:
        return len(findings.best_by_width) > 1
    except ResVAERayError:
        return True  # the figure reports what cannot be read


def figures(run: Run | str | Path) -> Figures:
    """The figures of a RUN.

    Raises:
        DataError: `run` is not a RUN.
    """
    return Figures(Findings(run if isinstance(run, Run) else Run.open(run)))
