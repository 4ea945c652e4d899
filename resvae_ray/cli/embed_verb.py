"""The verb that makes FEATURES from sequences: embed."""

import argparse
from typing import TYPE_CHECKING, Any

from resvae_ray.cli.verb import add_address, add_verb, progress_bar
from resvae_ray.embed.settings import CHOICES, SPLIT, TRUNCATE, Embedding

if TYPE_CHECKING:
    from resvae_ray.embed.embed_proteins import EmbedSummary

DEFAULT = Embedding()


def add_verbs(verbs: Any) -> None:
    """Adds it."""
    parser = add_verb(
        verbs,
        "embed",
        _embed,
        "turn protein sequences into FEATURES with a protein language model",
        arguments={
            "PROTEINS": "FASTA (.fasta, .fa, .faa, .fas), CSV, TSV or TXT, also with .gz; XLSX; Parquet",
            "FEATURES": "output: a file if the name ends in .parquet, else a folder",
        },
        example="proteins.fasta features.parquet",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT.model,
        metavar="NAME|FOLDER",
        help="a model's name on the Hugging Face hub, or its folder; ESM-2, ESM-1b, ESM-1v, ESM C, ProtT5, ProstT5 and "
        f"Ankh are read (default: {DEFAULT.model})",
    )
    parser.add_argument(
        "--pooling",
        metavar="NAME",
        help=f"vector made of each protein: {', '.join(CHOICES['pooling'])} (default: cls; mean for ProtT5, ProstT5 "
        "and Ankh)",
    )
    parser.add_argument(
        "--layer",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="hidden layer, from 0 (the embeddings of the tokens) to the last, or from -1 (the last) down; repeatable, "
        "for a folder with one FEATURES per layer (default: the last)",
    )
    parser.add_argument("--sites", metavar="TABLE", help="table of ids and site positions (from 1), for --pooling pho")
    lengths = parser.add_argument_group("long sequences")
    lengths.add_argument(
        "--max-length",
        type=int,
        default=DEFAULT.max_length,
        metavar="N",
        help=f"residues that the model reads at once (at least 1; default: {DEFAULT.max_length})",
    )
    lengths.add_argument(
        "--long", default=DEFAULT.long, metavar="NAME", help=f"treatment of longer sequences: {_choices('long')}"
    )
    columns = parser.add_argument_group("columns of a table")
    columns.add_argument("--id-column", metavar="NAME", help="column with the ids (default: id, Entry_ID, …)")
    columns.add_argument(
        "--ids",
        metavar="rows|FILE",
        help="'rows' numbers the rows; a text, table or FASTA file gives one id per row, in their order",
    )
    columns.add_argument("--sequence-column", metavar="NAME", help="column with the sequences (default: sequence, seq)")
    columns.add_argument("--label-column", metavar="NAME", help="column with the labels (default: label)")
    columns.add_argument("--sheet", metavar="NAME", help="sheet of a workbook (default: the first)")
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs to use; 0 embeds on the CPU (at least 0; default: all)"
    )
    machine.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that hold the model (at least 1; default: one per GPU, or one per four cores)",
    )
    machine.add_argument(
        "--batch-tokens",
        type=int,
        default=DEFAULT.batch_tokens,
        metavar="N",
        help=f"residues, special and padding tokens per batch (at least 1; default: {DEFAULT.batch_tokens})",
    )
    machine.add_argument(
        "--precision",
        default=DEFAULT.precision,
        metavar="NAME",
        help=f"precision of matrix products: {_choices('precision')}",
    )
    add_address(machine)


def _choices(name: str) -> str:
    return f"{', '.join(CHOICES[name])} (default: {getattr(DEFAULT, name)})"


def _embed(options: argparse.Namespace) -> None:
    from resvae_ray.data.proteins import ProteinChoice
    from resvae_ray.embed.embed_proteins import embed_proteins
    from resvae_ray.embed.workers import Workers

    settings = Embedding(
        options.model,
        options.pooling,
        options.max_length,
        options.long,
        options.batch_tokens,
        options.precision,
        tuple(options.layer),
    )
    with progress_bar("embedding", "sequences") as progress:
        summary = embed_proteins(
            options.proteins,
            options.features,
            settings,
            columns=ProteinChoice(
                options.id_column, options.sequence_column, options.label_column, options.ids, options.sheet
            ),
            sites=options.sites,
            workers=Workers(options.gpus, options.workers, options.address),
            progress=progress,
        )
    say_embedded(summary, settings)


def say_embedded(summary: "EmbedSummary", settings: Embedding) -> None:
    """Prints what was embedded, and what of it was cut."""
    vectors = ", ".join(f"{width} features ({pooling})" for pooling, width in summary.widths.items())
    print(f"{summary.path}: {summary.rows:,} proteins x {vectors}, {summary.precision}")
    print(f"model: {summary.model}")
    if summary.cut:
        how = {SPLIT: "read in windows and averaged by length", TRUNCATE: "truncated"}[settings.long]
        print(f"{summary.cut:,} of them are longer than {settings.max_length} residues and were {how}")
    if summary.sites_cut:
        print(f"{summary.sites_cut:,} sites are beyond the first {settings.max_length} residues and were left out")
    if set(summary.sites_forms) - {"as written"}:
        forms = ", ".join(f"{form} ({count:,})" for form, count in summary.sites_forms.items())
        print(f"the ids of sites and proteins agree {forms}")
    if summary.siteless:
        print(f"{summary.siteless:,} of them have no site that was read and got zeros")
