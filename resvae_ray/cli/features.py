"""The verbs that make FEATURES and DATASET: import, split."""

import argparse
from collections.abc import Sequence
from typing import Any

from resvae_ray.cli.verb import add_verb, progress_bar
from resvae_ray.errors import UsageError


def add_verbs(verbs: Any) -> None:
    """Adds them."""
    _add_import(verbs)
    _add_split(verbs)


def _add_import(verbs: Any) -> None:
    parser = add_verb(verbs, "import", _import, "read features in any known format and write FEATURES")
    parser.epilog = (
        "Formats, by the ending of SOURCE: Parquet; CSV, TSV, TXT, also .gz; XLSX; NPZ, NPY; HDF5 (.h5, .hdf5), one "
        "data set a protein or a matrix; H5AD; a folder of .pt files of esm-extract."
    )
    parser.add_argument("source", metavar="SOURCE", help="a file; for Parquet and .pt also a folder or a glob")
    parser.add_argument("features", metavar="FEATURES", help="a file if it ends in .parquet, else a folder")
    parser.add_argument("--id-column", metavar="NAME", help="the column or array of ids (default: id, Entry_ID, …)")
    parser.add_argument("--label-column", metavar="NAME", help="the column or array of labels (default: label)")
    parser.add_argument(
        "--features-column",
        metavar="NAME",
        help="the column of vectors or the matrix, if several (H5AD: X or a key of obsm)",
    )
    parser.add_argument("--prefix", metavar="TEXT", help="of numbered columns, one a feature: ESM2_cls for ESM2_cls0 …")
    parser.add_argument("--sheet", metavar="NAME", help="of a workbook (default: the first)")
    parser.add_argument("--layer", type=int, metavar="N", help="of the model, where .pt files hold several")
    parser.add_argument(
        "--describe",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="what produced the features (model=…, layer=…, pooling=…); kept with them and in the model",
    )


def _import(options: argparse.Namespace) -> None:
    from resvae_ray.data.importers import import_features
    from resvae_ray.data.schema import ColumnChoice

    choice = ColumnChoice(
        id_column=options.id_column,
        label_column=options.label_column,
        features_column=options.features_column,
        prefix=options.prefix,
        sheet=options.sheet,
        layer=options.layer,
    )
    describe = _key_values(options.describe)
    with progress_bar("importing") as progress:
        summary = import_features(options.source, options.features, choice, describe=describe, progress=progress)
    label = "with labels" if summary.label else "without labels"
    found = "".join(f", {key} {value}" for key, value in summary.found.items() if key != "source")
    print(f"{summary.path}: {summary.rows:,} proteins x {summary.dim} features, {label}{found}")


def _key_values(items: Sequence[str]) -> dict[str, str]:
    for item in items:
        if "=" not in item:
            raise UsageError(f"--describe {item}: expected KEY=VALUE, such as model=esm2_t33_650M_UR50D")
    return dict(item.split("=", 1) for item in items)


def _add_split(verbs: Any) -> None:
    parser = add_verb(verbs, "split", _split, "part FEATURES into a DATASET with training and validation rows")
    parser.add_argument("features", metavar="FEATURES")
    parser.add_argument("dataset", metavar="DATASET", help="the folder to write")
    parser.add_argument("--val-fraction", type=float, default=0.2, metavar="X", help="of the rows validate (0.2)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random split (0)")
    parser.add_argument("--exclude", metavar="OTHER", help="a test set whose ids and sequences must not be trained on")
    parser.add_argument("--drop", action="store_true", help="leave those out instead of refusing")


def _split(options: argparse.Namespace) -> None:
    from resvae_ray.data.split import split_features

    if options.drop and not options.exclude:
        raise UsageError("--drop: says what to do with rows that --exclude finds; give --exclude OTHER too")
    with progress_bar("splitting") as progress:
        dataset = split_features(
            options.features,
            options.dataset,
            val_fraction=options.val_fraction,
            seed=options.seed,
            exclude=options.exclude,
            drop=options.drop,
            progress=progress,
        )
    excluded = f", {dataset.excluded:,} left out" if options.exclude else ""
    print(f"{dataset.path}: {dataset.train_rows:,} to train on, {dataset.val_rows:,} to validate{excluded}")
