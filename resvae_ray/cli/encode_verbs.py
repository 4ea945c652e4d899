"""The verbs that apply a model, and the demo of them all: encode, demo."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from resvae_ray.cli.verb import add_verb, one_line, progress_bar
from resvae_ray.errors import DataError


def add_verbs(verbs: Any, run_command: Callable[[Sequence[str]], int]) -> None:
    """Adds them; the demo runs the other verbs by `run_command`."""
    _add_encode(verbs)
    _add_demo(verbs, run_command)


def _add_encode(verbs: Any) -> None:
    parser = add_verb(verbs, "encode", _encode, "turn FEATURES into LATENTS with a MODEL")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("features", metavar="FEATURES", help="FEATURES, or a DATASET for both of its sides")
    parser.add_argument("latents", metavar="LATENTS", help="what to write: a file if it ends in .parquet, or a folder")
    parser.add_argument("--sample", action="store_true", help="draw the latents instead of taking their mean")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (0)")
    parser.add_argument(
        "--axes",
        metavar="DATASET",
        help="also write the latents turned and scaled to what they explain of this DATASET: for neighbours and maps",
    )
    parser.add_argument("--logvar", action="store_true", help="also write the logarithm of the posterior variance")
    parser.add_argument("--recon-error", action="store_true", help="also write each protein's reconstruction error")
    parser.add_argument(
        "--on-bad-file",
        choices=("stop", "skip"),
        default="stop",
        help="skip: leave out files that cannot be read, list them in LATENTS.skipped.json, and exit with 1 (stop)",
    )
    parser.add_argument("--address", default="", metavar="TEXT", help="of a running Ray cluster (default: a local one)")


def _encode(options: argparse.Namespace) -> None:
    from resvae_ray.encode.encode_features import encode_features
    from resvae_ray.encode.latents import Output
    from resvae_ray.encode.skipped import stop

    output = Output(options.sample, options.seed, options.logvar, options.recon_error)
    with progress_bar("encoding") as progress:
        rows = encode_features(
            options.model,
            options.features,
            options.latents,
            output,
            axes=options.axes,
            address=options.address,
            progress=progress,
            on_bad_file=stop if options.on_bad_file == "stop" else _warn_of,
        )
    print(f"{options.latents}: {rows:,} proteins")


def _warn_of(error: DataError) -> None:
    from tqdm import tqdm

    tqdm.write(f"skipped: {one_line(str(error))}", file=sys.stderr)  # above the bar, where there is one


def _add_demo(verbs: Any, run_command: Callable[[Sequence[str]], int]) -> None:
    def run(options: argparse.Namespace) -> None:
        from resvae_ray.demo import demo

        demo(options.folder, run_command)

    parser = add_verb(verbs, "demo", run, "run the whole flow on synthetic features, in a few minutes")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default="resvae-ray-demo")
