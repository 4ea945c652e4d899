"""The figures of a RUN by name, each a plotly figure, made when it is asked for.

figures = resvae_ray.figures("run")
list(figures)                           # their names
figures["learning_curves"].show()
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from resvae_ray.errors import ResVAERayError
from resvae_ray.insight import style  # first: it says what to install where plotly is missing
from resvae_ray.insight.course_figures import learning_curves, timeline
from resvae_ray.insight.finalist_figures import finalists
from resvae_ray.insight.findings import Findings
from resvae_ray.insight.latent_figures import errors, latent_dimensions, latent_map
from resvae_ray.insight.rate_figure import rate_distortion
from resvae_ray.insight.search_figures import history, importances, parallel_coordinates, slices
from resvae_ray.search.run import Run

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
    """All figures of a report by name; a figure is drawn when it is asked for, and kept.

    Asking for one raises DataError where the RUN does not have what it needs, and says what that is.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        asked_for = {
            finalists.__name__: findings.run.config.search.finalists > 0,
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
        return True  # the figure says what cannot be read


def figures(run: Run | str | Path) -> Figures:
    """The figures of a RUN.

    Raises:
        DataError: no RUN there.
    """
    return Figures(Findings(run if isinstance(run, Run) else Run.open(run)))
