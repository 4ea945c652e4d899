"""RUN to a report: one HTML page with everything in it, and its figures as PNG and SVG beside it.

    report("run")                    # RUN/report/report.html and RUN/report/figures/

If a figure cannot be drawn (no complete trials, no labels, DATASET moved), the page says why.
"""

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from resvae_ray import names
from resvae_ray.errors import ResVAERayError
from resvae_ray.files.atomic import replace_folder
from resvae_ray.files.place import Place, place, place_to_write
from resvae_ray.progress import Progress, silent
from resvae_ray.reporting.figures import TITLES, Figures, figures, write_images
from resvae_ray.reporting.page import PageFigure, page_figure, render_page
from resvae_ray.reporting.sections import page_values
from resvae_ray.search.run.run import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        path: of the page.
        missing: names of figures that could not be drawn, with the reason.
        no_images: why there are no PNG and SVG; None if there are.
    """

    path: Place
    missing: dict[str, str]
    no_images: str | None


def report(run: Run | str | Path, out: str | Path | None = None, *, progress: Progress = silent) -> Report:
    """Writes the report of a RUN, also while the search runs.

    Args:
        out: a new folder; the default is RUN/report, which a later report replaces.
        progress: called with the number of figures drawn and the number of all figures.

    Raises:
        DataError: `run` is not a RUN.
        UsageError: `out` exists, or plotly is not installed.
    """
    drawn = figures(run)
    with _target(drawn.findings.run, out) as folder:
        folder.mkdir(exist_ok=True)
        shown = _draw(drawn, progress)
        missing = {name: figure.missing for name, figure in shown.items() if figure.missing is not None}
        images = {name: drawn[name] for name in shown if name not in missing}
        no_images = write_images(images, folder / names.PLOTS_FOLDER)
        (folder / names.REPORT_FILE).write_text(render_page(page_values(drawn.findings), shown))
    run = drawn.findings.run
    if out is None and run.copy:
        run.copy.send_folder(names.REPORT_FOLDER)
    folder = run.where / names.REPORT_FOLDER if out is None else place(out)
    return Report(folder / names.REPORT_FILE, missing, no_images)


def _target(run: Run, out: str | Path | None) -> AbstractContextManager[Path]:
    if out is None:
        return replace_folder(run.path / names.REPORT_FOLDER)
    return place_to_write(out).staged_folder(names.REPORT_FILE)


def _draw(drawn: Figures, progress: Progress) -> dict[str, PageFigure]:
    """Each figure for the page, or why it could not be drawn."""
    shown: dict[str, PageFigure] = {}
    for done, name in enumerate(drawn):
        progress(done, len(drawn))
        try:
            shown[name] = page_figure(drawn[name])
        except ResVAERayError as error:
            shown[name] = PageFigure(TITLES[name], missing=str(error))
        except Exception as error:
            # A figure that fails must not cost the others; the page and the log report it.
            logger.warning("the figure %s failed", name, exc_info=True)
            shown[name] = PageFigure(TITLES[name], missing=f"{type(error).__name__}: {error}")
    progress(len(drawn), len(drawn))
    return shown
