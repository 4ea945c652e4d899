"""The verb that shows what a search came to: report."""

import argparse
import sys
from typing import Any

from resvae_ray.cli.verb import add_verb, progress_bar


def add_verbs(verbs: Any) -> None:
    """Adds it."""
    parser = add_verb(verbs, "report", _report, "write a page with figures of a RUN, while it runs or after")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--out", metavar="FOLDER", help="to write into, new (default: RUN/report, which it replaces)")


def _report(options: argparse.Namespace) -> None:
    from resvae_ray.insight.report import report

    with progress_bar("drawing", " figures") as progress:
        written = report(options.run, options.out, progress=progress)
    for name, reason in written.missing.items():
        print(f"resvae-ray: no figure {name}: {reason}", file=sys.stderr)
    if written.no_images:
        print(f"resvae-ray: {written.no_images}", file=sys.stderr)
    print(written.path)
