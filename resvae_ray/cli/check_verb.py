"""The `check` verb: reports problems and statistics of FEATURES."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from resvae_ray.cli.verb import add_address, add_json, add_verb, progress_bar, say_job
from resvae_ray.config import TrainingConfig
from resvae_ray.errors import DataError

if TYPE_CHECKING:
    from resvae_ray.data.checking.check_result import Check, Components, Labels, Spread

MOST_LABELS = 12  # shown to people
MOST_POSITIONS = 8


def add_verbs(verbs: Any) -> None:
    """Adds it."""
    parser = add_verb(
        verbs,
        "check",
        _check,
        "report statistics and problems of FEATURES, and how well a Res-VAE can compress them",
        arguments={"FEATURES": "FEATURES, or a DATASET to check both of its sides"},
        example="features.parquet",
    )
    parser.add_argument(
        "--beta",
        type=float,
        default=TrainingConfig.beta,
        metavar="X",
        help="weight of the reconstruction error that you plan to train with (above 0; "
        f"default: {TrainingConfig.beta:g})",
    )
    add_address(parser)
    add_json(parser)
    parser.epilog = (
        "FEATURES of 2 GiB or more are read by a Ray job, any FEATURES with --address.\n"
        "Exit code 0, also with warnings; 3 if ids or features are missing, ids repeat, or values are not finite."
    )


def _check(options: argparse.Namespace) -> None:
    from resvae_ray.jobs.check_job import check_shards

    with progress_bar("checking") as progress:
        check = check_shards(
            options.features,
            beta=options.beta,
            address=options.address,
            progress=progress,
            on_ray=lambda tasks: say_job("reads them in", tasks, "task"),
        )
    print(json.dumps(check.record(), indent=2, allow_nan=False) if options.json else check_table(check))
    if check.problems:
        raise DataError(f"{check.path}: {'; '.join(check.problems)}")


def check_table(check: "Check") -> str:
    """The figures and warnings for people."""
    sequences = "no column" if check.duplicate_sequences is None else f"{check.duplicate_sequences:,}"
    lines = [
        ("proteins", f"{check.rows:,}"),
        ("features", f"{check.dim:,}"),
        ("missing", f"{check.missing:,}"),
        ("not finite", f"{check.nonfinite:,}"),
        ("duplicate ids", f"{check.duplicate_ids:,}"),
        ("duplicate vectors", f"{check.duplicate_vectors:,}"),
        ("duplicate sequences", sequences),
        *(_spread_lines(check.spread) if check.spread else ()),
        *(_component_lines(check.components, check.beta) if check.components else ()),
        ("labels", _label_line(check.labels) if check.labels else "no column"),
    ]
    table = [f"  {name:<22}{value}" for name, value in lines]
    return "\n".join([check.path, *table, *(f"warning: {text}" for text in check.warnings)])


def _spread_lines(spread: "Spread") -> list[tuple[str, str]]:
    share = f", {spread.outlier_share:.0%} of the total variance" if spread.outlier_dimensions else ""
    return [
        ("constant features", _positions(spread.constant_features)),
        ("standard deviations", f"{spread.std_min:.4g} to {spread.std_max:.4g}, median {spread.std_median:.4g}"),
        ("total variance", f"{spread.total_variance:.4g}"),
        ("outlier dimensions", f"{_positions(spread.outlier_dimensions)}{share}"),
    ]


def _component_lines(found: "Components", beta: float) -> list[tuple[str, str]]:
    return [
        ("components", f"{found.components_60} for 60 % of the variance, {found.components_90} for 90 %"),
        (f"at beta {beta:g}", f"{found.usable_latents} latents worth their KLD, {found.linear_r2:.0%} explained"),
    ]


def _positions(positions: list[int]) -> str:
    shown = ", ".join(map(str, positions[:MOST_POSITIONS])) + (", …" if len(positions) > MOST_POSITIONS else "")
    return f"{len(positions):,} ({shown})" if positions else "0"


def _label_line(labels: "Labels") -> str:
    if labels.counts is None:
        return "too many to count"
    shown = ", ".join(f"{label} {count:,}" for label, count in list(labels.counts.items())[:MOST_LABELS])
    more = ", …" if len(labels.counts) > MOST_LABELS else ""
    return f"{len(labels.counts):,}: {shown}{more}; {labels.missing:,} without"
