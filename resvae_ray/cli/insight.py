"""The verbs that judge a model: evaluate."""

import argparse
import json
from typing import Any

from resvae_ray.cli.verb import add_verb, progress_bar


def add_verbs(verbs: Any) -> None:
    """Adds them."""
    _add_evaluate(verbs)


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
    from resvae_ray.insight.card import require_own_card, write_card
    from resvae_ray.insight.evaluate import evaluate_model

    if options.write_card:
        require_own_card(options.model)
    with progress_bar("evaluating") as progress:
        evaluation = evaluate_model(
            options.model, options.dataset, seed=options.seed, max_rows=options.max_rows, progress=progress
        )
    if options.write_card:
        write_card(options.model, evaluation)
    print(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) if options.json else evaluation.text())
