"""The verbs that make FEATURES and DATASET: import, check, split."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resvae_ray.cli import check_verb
from resvae_ray.cli.verb import add_address, add_verb, progress_bar, say_job
from resvae_ray.errors import UsageError

if TYPE_CHECKING:
    from resvae_ray.data.dataset import Dataset
    from resvae_ray.data.importers import ImportSummary


def add_verbs(verbs: Any) -> None:
    """Adds them."""
    _add_import(verbs)
    check_verb.add_verbs(verbs)
    _add_split(verbs)


def _add_import(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "import",
        _import,
        "read features from a table or an array file and write them as FEATURES",
        arguments={
            "SOURCE": "a file; for Parquet and .pt also a folder or a glob",
            "FEATURES": "output: a file if the name ends in .parquet, else a folder",
        },
        example="proteins.csv features.parquet --prefix ESM2_cls",
    )
    parser.epilog = (
        "Formats, by the ending of SOURCE: Parquet; CSV, TSV, TXT, also .gz; XLSX; NPZ, NPY;\n"
        "HDF5 (.h5, .hdf5), one data set per protein or a matrix; H5AD; a folder of .pt files from esm-extract.\n\n"
        "Parquet, several CSV files and the files of esm-extract that become a folder are imported as a Ray job if "
        "they have 2 GiB or more, or with --address."
    )
    columns = parser.add_argument_group("columns")
    columns.add_argument("--id-column", metavar="NAME", help="column or array with the ids (default: id, Entry_ID, …)")
    columns.add_argument(
        "--ids",
        metavar="rows|FILE",
        help="'rows' numbers the rows; a text, table or FASTA file gives one id per row, in their order",
    )
    columns.add_argument("--label-column", metavar="NAME", help="column or array with the labels (default: label)")
    columns.add_argument(
        "--features-column",
        metavar="NAME",
        help="column with vectors, or the matrix, if there are several (H5AD: X or a key of obsm)",
    )
    columns.add_argument(
        "--prefix",
        metavar="TEXT",
        help="common start of numbered feature columns: ESM2_cls for ESM2_cls0, ESM2_cls1, …",
    )
    beside = parser.add_argument_group("tables beside SOURCE")
    beside.add_argument(
        "--labels", metavar="FILE", help="labels of the rows: a table, a text with one per line, or a .npy"
    )
    beside.add_argument(
        "--metadata", metavar="FILE", help="table (CSV, TSV, XLSX, Parquet, FASTA) whose columns are added"
    )
    beside.add_argument(
        "--join",
        metavar="NAME",
        help="how they are joined: id or position (default: by id if both have ids, by position if SOURCE has none)",
    )
    parts = parser.add_argument_group("parts of a file")
    parts.add_argument("--sheet", metavar="NAME", help="sheet of a workbook (default: the first)")
    parts.add_argument("--layer", type=int, metavar="N", help="layer to read, if .pt files hold several")
    parser.add_argument(
        "--describe",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="origin of the features (model=…, layer=…, pooling=…), stored in FEATURES and MODEL; repeatable",
    )
    add_address(parser)


def _import(options: argparse.Namespace) -> None:
    from resvae_ray.data.importers.joined_table import TablesBeside
    from resvae_ray.data.layout import ColumnChoice
    from resvae_ray.jobs.import_job import import_shards

    choice = ColumnChoice(
        id_column=options.id_column,
        label_column=options.label_column,
        features_column=options.features_column,
        prefix=options.prefix,
        sheet=options.sheet,
        layer=options.layer,
        ids=options.ids,
    )
    describe = _key_values(options.describe)
    with progress_bar("importing") as progress:
        summary = import_shards(
            options.source,
            options.features,
            choice,
            beside=TablesBeside(options.labels, options.metadata, options.join),
            describe=describe,
            address=options.address,
            progress=progress,
            on_ray=lambda files: say_job("writes", files, "file"),
        )
    say_imported(summary)


def say_imported(summary: "ImportSummary") -> None:
    """Prints what an import wrote."""
    label = "with labels" if summary.label else "without labels"
    found = "".join(f", {key} {value}" for key, value in summary.found.items() if key != "source")
    print(f"{summary.path}: {summary.rows:,} proteins x {summary.dim} features, {label}{found}")


def _key_values(items: Sequence[str]) -> dict[str, str]:
    for item in items:
        if "=" not in item:
            raise UsageError(f"--describe {item}: expected KEY=VALUE, such as model=esm2_t33_650M_UR50D")
    return dict(item.split("=", 1) for item in items)


def _add_split(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "split",
        _split,
        "divide FEATURES into a DATASET of training and validation rows",
        arguments={"FEATURES": "features to divide", "DATASET": "output folder"},
        example="features.parquet dataset --exclude test_set.csv --drop",
    )
    parser.add_argument(
        "--val-fraction",
        type=float,
        metavar="X",
        help="fraction of rows held out for validation (0 to 1; default: 0.2)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of the random draw, or salt of the hash (at least 0; default: 0)"
    )
    rules = parser.add_argument_group(
        "split rule", "By default rows are drawn at random; at most one of these."
    ).add_mutually_exclusive_group()
    _add_rule(rules, "--group", "group", metavar="COLUMN", help="keep rows with equal values in COLUMN on one side")
    _add_rule(
        rules,
        "--stratify",
        "stratified",
        nargs=0,
        help="divide the rows of each label in proportion",
    )
    _add_rule(rules, "--stratify-by", "stratified", metavar="COLUMN", help="divide the rows of each value of COLUMN so")
    _add_rule(
        rules, "--val-ids", "given", metavar="FILE", help="validate on these ids: text with one id per line, or a table"
    )
    _add_rule(
        rules,
        "--by-hash",
        "hash",
        nargs=0,
        help="divide by a hash of the id, so that rows keep their side as data grow",
    )
    parser.epilog = "FEATURES of 2 GiB or more are split as a Ray job, any FEATURES with --address."
    leaks = parser.add_argument_group("leaks into a test set")
    leaks.add_argument(
        "--exclude", metavar="OTHER", help="test set (FEATURES, table, FASTA or list of ids) to keep out of the DATASET"
    )
    leaks.add_argument(
        "--exclude-similarity",
        type=float,
        metavar="X",
        help="also exclude vectors whose cosine with one of OTHER, after subtracting the mean of FEATURES, is at "
        "least X; 0.999 is near-identical (above 0, up to 1; default: vectors are not compared)",
    )
    leaks.add_argument("--drop", action="store_true", help="leave excluded rows out; without it, split refuses")
    add_address(parser)


def _add_rule(rules: Any, flag: str, rule: str, **options: Any) -> None:
    """A flag that chooses a split rule and what it goes by."""

    class Choose(argparse.Action):
        def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, *_: object) -> None:
            namespace.rule, namespace.by = rule, values or None

    rules.add_argument(flag, action=Choose, dest=flag, **options)


def _split(options: argparse.Namespace) -> None:
    from resvae_ray.jobs.split_job import split_shards

    with progress_bar("splitting") as progress:
        dataset = split_shards(
            options.features,
            options.dataset,
            rule=getattr(options, "rule", "random"),
            by=getattr(options, "by", None),
            val_fraction=options.val_fraction,
            seed=options.seed,
            exclude=options.exclude,
            exclude_similarity=options.exclude_similarity,
            drop=options.drop,
            address=options.address,
            progress=progress,
            on_ray=lambda files: say_job("writes", files, "file"),
        )
    say_split(dataset, options.exclude)


def say_split(dataset: "Dataset", exclude: str | None) -> None:
    """Prints how the rows were divided.

    Args:
        exclude: the test set that was kept out, if any.
    """
    from resvae_ray.data.checking.advice import LATENTS
    from resvae_ray.data.splitting.exclude import forms_in_words

    excluded = f", {_left_out(dataset)}" if exclude else ""
    listed = forms_in_words(dataset.val_id_forms)
    print(f"{dataset.path}: {dataset.train_rows:,} to train on, {dataset.val_rows:,} to validate{excluded}{listed}")
    if dataset.repeated_sequences:
        _warn_of_repeats(dataset.repeated_sequences, dataset.sequences_on_both_sides)
    if dataset.of_latents:
        print(f"resvae-ray: warning: {LATENTS}", file=sys.stderr)


def _left_out(dataset: "Dataset") -> str:
    from resvae_ray.data.splitting.exclude import counts_in_words, forms_in_words

    counts = f"{counts_in_words(dataset.excluded_by)}{forms_in_words(dataset.excluded_id_forms)}"
    skipped = [f"{kind}s not compared: {why}" for kind, why in dataset.not_compared.items()]
    how_many = f"{dataset.excluded:,} left out" if dataset.excluded_by else "nothing could be compared"
    return f"{how_many} ({'; '.join(filter(None, [counts, *skipped]))})"


def _warn_of_repeats(repeated: int, on_both_sides: int) -> None:
    leak = f"; {on_both_sides:,} to validate have the sequence of one to train on, --group sequence avoids it"
    text = f"{repeated:,} rows repeat the sequence of an earlier one{leak if on_both_sides else ', all on its side'}"
    print(f"resvae-ray: {text}", file=sys.stderr)
