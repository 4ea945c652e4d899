"""The verbs that judge a search and its model: evaluate, report."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from resvae_ray.cli.verb import add_json, add_verb, progress_bar

if TYPE_CHECKING:
    from resvae_ray.reporting.report import Report


def add_verbs(verbs: Any) -> None:
    """Adds them."""
    _add_evaluate(verbs)
    _add_report(verbs)


def _add_evaluate(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "evaluate",
        _evaluate,
        "compare a MODEL with PCA and the raw features on a DATASET",
        arguments={"MODEL": "folder that export or tune wrote", "DATASET": "folder that split wrote"},
        example="run/model dataset",
    )
    add_json(parser)
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the folds, the random sample of rows and the intervals (at least 0; default: 0)",
    )
    parser.add_argument(
        "--latents",
        type=int,
        nargs="+",
        default=[],
        metavar="K",
        help="also compare the first K latents with PCA of width K; needs nested latents (at least 1; default: none)",
    )
    parser.add_argument(
        "--max-rows",
        type=int,
        default=4000,
        metavar="N",
        help="rows of each side for probes and trustworthiness; above N, a random sample is used (default: 4000)",
    )
    parser.add_argument("--write-card", action="store_true", help="also add the result to MODEL's README.md")


def _evaluate(options: argparse.Namespace) -> None:
    from resvae_ray.evaluation.evaluate import evaluate_model
    from resvae_ray.evaluation.evaluated_card import require_own_card, write_card

    if options.write_card:
        require_own_card(options.model)
    with progress_bar("evaluating") as progress:
        evaluation = evaluate_model(
            options.model,
            options.dataset,
            latents=options.latents,
            seed=options.seed,
            max_rows=options.max_rows,
            progress=progress,
        )
    if options.write_card:
        write_card(options.model, evaluation)
    print(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) if options.json else evaluation.text())


def _add_report(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "report",
        _report,
        "write an HTML page with the figures of a RUN, while it runs or after",
        arguments={"RUN": "folder of a search"},
        example="run",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="new output folder (default: RUN/report, which is replaced if it exists)"
    )


def _report(options: argparse.Namespace) -> None:
    from resvae_ray.reporting.report import report

    with progress_bar("drawing", "figures") as progress:
        written = report(options.run, options.out, progress=progress)
    say_report(written)


def say_report(written: "Report") -> None:
    """Prints where the page is and, to stderr, which figures it lacks."""
    for name, reason in written.missing.items():
        print(f"resvae-ray: no figure {name}: {reason}", file=sys.stderr)
    if written.no_images:
        print(f"resvae-ray: {written.no_images}", file=sys.stderr)
    print(written.path)
