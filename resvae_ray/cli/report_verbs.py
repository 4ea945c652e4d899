"""The verbs that judge a search and its model: evaluate, report."""

import argparse
import json
import sys
from typing import Any

from resvae_ray.cli.verb import add_verb, progress_bar


def add_verbs(verbs: Any) -> None:
    """Adds them."""
    _add_evaluate(verbs)
    _add_report(verbs)


def _add_evaluate(verbs: Any) -> None:
    parser = add_verb(verbs, "evaluate", _evaluate, "compare a MODEL with PCA and the raw features, on a DATASET")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds and the rows drawn (0)")
    parser.add_argument(
        "--max-rows",
        type=int,
        default=4000,
        metavar="N",
        help="for probes and trustworthiness; others are drawn (4000)",
    )
    parser.add_argument("--write-card", action="store_true", help="also put the result into MODEL's README.md")


def _evaluate(options: argparse.Namespace) -> None:
    from resvae_ray.evaluation.evaluate import evaluate_model
    from resvae_ray.evaluation.evaluated_card import require_own_card, write_card

    if options.write_card:
        require_own_card(options.model)
    with progress_bar("evaluating") as progress:
        evaluation = evaluate_model(
            options.model, options.dataset, seed=options.seed, max_rows=options.max_rows, progress=progress
        )
    if options.write_card:
        write_card(options.model, evaluation)
    print(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) if options.json else evaluation.text())


def _add_report(verbs: Any) -> None:
    parser = add_verb(verbs, "report", _report, "write a page with figures of a RUN, while it runs or after")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--out", metavar="FOLDER", help="to write into, new (default: RUN/report, which it replaces)")


def _report(options: argparse.Namespace) -> None:
    from resvae_ray.reporting.report import report

    with progress_bar("drawing", "figures") as progress:
        written = report(options.run, options.out, progress=progress)
    for name, reason in written.missing.items():
        print(f"resvae-ray: no figure {name}: {reason}", file=sys.stderr)
    if written.no_images:
        print(f"resvae-ray: {written.no_images}", file=sys.stderr)
    print(written.path)
