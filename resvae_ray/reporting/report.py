"""RUN to a report: one HTML page with everything in it, and its figures as PNG and SVG beside it.

    report("run")                    # RUN/report/report.html and RUN/report/figures/

What a RUN does not have (complete trials, labels, its DATASET) is named in the place of its figure.
"""

import logging
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from resvae_ray import names
from resvae_ray._version import __version__
from resvae_ray.errors import ResVAERayError
from resvae_ray.files.atomic import replace_folder
from resvae_ray.files.place import Place, place, place_to_write
from resvae_ray.progress import Progress, silent
from resvae_ray.reporting.figures import TITLES, Figures, figures, write_images
from resvae_ray.reporting.page import Html, no_plot, page, plot
from resvae_ray.reporting.sections import Plots, head, sections
from resvae_ray.search.run.run import Run

logger = logging.getLogger(__name__)
WIDE = ("parallel_coordinates", "slices")  # too much for the width of a phone


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        path: of the page.
        missing: names of figures that this RUN has not, with the reason.
        no_images: why there are no PNG and SVG.
    """

    path: Place
    missing: dict[str, str]
    no_images: str | None


def report(run: Run | str | Path, out: str | Path | None = None, *, progress: Progress = silent) -> Report:
    """Writes the report of a RUN, while it runs or after.

    Args:
        out: a new folder; if not given RUN/report, which a later report replaces.
        progress: told of each figure.

    Raises:
        DataError: no RUN there.
        UsageError: `out` is there already, or plotly is not installed.
    """
    drawn = figures(run)
    with _target(drawn.findings.run, out) as folder:
        folder.mkdir(exist_ok=True)
        plots, missing = _draw(drawn, progress)
        shown = {name: drawn[name] for name in drawn if name not in missing}
        no_images = write_images(shown, folder / names.PLOTS_FOLDER)
        (folder / names.REPORT_FILE).write_text(_page(drawn, plots))
    run = drawn.findings.run
    if out is None and run.copy:
        run.copy.send_folder(names.REPORT_FOLDER)
    folder = run.where / names.REPORT_FOLDER if out is None else place(out)
    return Report(folder / names.REPORT_FILE, missing, no_images)


def _target(run: Run, out: str | Path | None) -> AbstractContextManager[Path]:
    if out is None:
        return replace_folder(run.path / names.REPORT_FOLDER)
    return place_to_write(out).staged_folder(names.REPORT_FILE)


def _draw(drawn: Figures, progress: Progress) -> tuple[Plots, dict[str, str]]:
    """Each figure as it stands on the page, and why some cannot."""
    plots: dict[str, Html] = {}
    missing: dict[str, str] = {}
    for done, name in enumerate(drawn):
        progress(done, len(drawn))
        try:
            plots[name] = plot(name, drawn[name], wide=name in WIDE)
        except ResVAERayError as error:
            missing[name] = str(error)
        except Exception as error:
            # One figure that fails must not take the others with it; the page and the log say so.
            logger.warning("the figure %s failed", name, exc_info=True)
            missing[name] = f"{type(error).__name__}: {error}"
        if name in missing:
            plots[name] = no_plot(name, TITLES[name], missing[name])
    progress(len(drawn), len(drawn))
    return plots, missing


def _page(drawn: Figures, plots: Plots) -> str:
    findings = drawn.findings
    written = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    title = f"{findings.run.where.name} · Res-VAE search"
    foot = f"Written {written} by resvae_ray {__version__}."
    return page(title, head(findings), sections(findings, plots), foot)
