"""The verbs that apply a model, and the demo of them all: encode, demo."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from resvae_ray.cli.verb import add_address, add_verb, one_line, progress_bar
from resvae_ray.errors import DataError

DEMO_FOLDER = "resvae-ray-demo"


def add_verbs(verbs: Any, run_command: Callable[[Sequence[str]], int]) -> None:
    """Adds them; the demo runs the other verbs by `run_command`."""
    _add_encode(verbs)
    _add_demo(verbs, run_command)


def _add_encode(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "encode",
        _encode,
        "compress FEATURES to LATENTS with a MODEL",
        arguments={
            "MODEL": "folder that export or tune wrote",
            "FEATURES": "FEATURES, a DATASET to encode both of its sides, or an H5AD file",
            "LATENTS": "output: a file, in the format of its ending, else a folder of Parquet files",
        },
        example="run/model features.parquet latents.parquet",
    )
    parser.epilog = (
        "Formats of LATENTS, by their ending: .parquet; .csv, .tsv; .npz; .h5, one data set per protein; .h5ad, which\n"
        "has the latents in obsm; .parquetbundle, for protspace."
    )
    columns = parser.add_argument_group("latents and further columns")
    columns.add_argument(
        "--latents",
        type=_at_least_one,
        default=0,
        dest="first",
        metavar="K",
        help="write only the first K latents, of a model with nested latents (at least 1; default: all)",
    )
    columns.add_argument(
        "--sample", action="store_true", help="draw the latents from the posterior instead of taking its mean"
    )
    columns.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the draws of --sample (at least 0; default: 0)"
    )
    columns.add_argument(
        "--axes",
        metavar="DATASET",
        help="also write the latents turned and scaled by their explained variance in DATASET; `evaluate` says whether "
        "their neighbours are better than PCA's",
    )
    columns.add_argument("--logvar", action="store_true", help="also write the logarithm of the posterior variance")
    columns.add_argument("--recon-error", action="store_true", help="also write each protein's reconstruction error")
    parser.add_argument(
        "--decoded",
        action="store_true",
        help="also write the reconstruction of the features from the latents: as wide as the features, for predictors",
    )
    parser.add_argument(
        "--features-column", metavar="NAME", help="matrix of an H5AD file: X or a key of obsm (default: X)"
    )
    parser.add_argument(
        "--on-bad-file",
        choices=("stop", "skip"),
        default="stop",
        help="skip leaves out files that cannot be read, lists them in LATENTS.skipped.json and exits with 1 "
        "(default: stop)",
    )
    add_address(parser)


def _encode(options: argparse.Namespace) -> None:
    from resvae_ray.encode.encode_features import encode_features
    from resvae_ray.encode.latents import Output
    from resvae_ray.encode.skipped import stop

    output = Output(
        options.sample, options.seed, options.logvar, options.recon_error, options.decoded, latents=options.first
    )
    with progress_bar("encoding") as progress:
        rows = encode_features(
            options.model,
            options.features,
            options.latents,
            output,
            axes=options.axes,
            features_column=options.features_column,
            address=options.address,
            progress=progress,
            on_bad_file=stop if options.on_bad_file == "stop" else _warn_of,
            on_other_origin=_warn_of_origin,
        )
    print(f"{options.latents}: {rows:,} proteins")


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number}: it must be at least 1")
    return number


def _warn_of_origin(differs: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"resvae-ray: warning: the model was trained on other features: {differs}", file=sys.stderr)


def _warn_of(error: DataError) -> None:
    from tqdm import tqdm

    tqdm.write(f"skipped: {one_line(str(error))}", file=sys.stderr)  # above the bar, where there is one


def _add_demo(verbs: Any, run_command: Callable[[Sequence[str]], int]) -> None:
    def run(options: argparse.Namespace) -> None:
        from resvae_ray.demo import demo

        demo(options.folder, run_command)

    parser = add_verb(
        verbs,
        "demo",
        run,
        "run the whole workflow on synthetic features, in a few minutes",
        arguments={"[FOLDER]": f"output folder (default: {DEMO_FOLDER})"},
        example=DEMO_FOLDER,
    )
    parser.set_defaults(folder=DEMO_FOLDER)
