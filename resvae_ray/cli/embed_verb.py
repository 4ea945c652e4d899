"""The verb that makes FEATURES from sequences: embed."""

import argparse
from typing import Any

from resvae_ray.cli.verb import add_verb, progress_bar
from resvae_ray.embed.settings import CHOICES, SPLIT, TRUNCATE, Embedding

DEFAULT = Embedding()


def add_verbs(verbs: Any) -> None:
    """Adds it."""
    parser = add_verb(verbs, "embed", _embed, "turn protein sequences into FEATURES with ESM-2")
    parser.add_argument(
        "proteins", metavar="PROTEINS", help="FASTA (.fasta, .fa, .faa, .fas), CSV, TSV or TXT, also with .gz"
    )
    parser.add_argument("features", metavar="FEATURES", help="a file if it ends in .parquet, else a folder")
    parser.add_argument("--model", default=DEFAULT.model, metavar="NAME|FOLDER", help=f"an ESM-2 ({DEFAULT.model})")
    parser.add_argument("--pooling", default=DEFAULT.pooling, metavar="NAME", help=_choices("pooling"))
    parser.add_argument("--sites", metavar="TABLE", help="ids and positions (from 1) of the sites, for --pooling pho")
    parser.add_argument(
        "--max-length", type=int, default=DEFAULT.max_length, metavar="N", help="residues read at once (1022)"
    )
    parser.add_argument(
        "--long", default=DEFAULT.long, metavar="WHAT", help=f"to do with longer ones: {_choices('long')}"
    )
    parser.add_argument("--id-column", metavar="NAME", help="of a table (default: id, Entry_ID, …)")
    parser.add_argument(
        "--ids", metavar="rows|FILE", help="number the rows of a table, or take their ids in order from a file"
    )
    parser.add_argument("--sequence-column", metavar="NAME", help="of a table (default: sequence, seq)")
    parser.add_argument("--label-column", metavar="NAME", help="of a table (default: label)")
    parser.add_argument("--batch-tokens", type=int, default=DEFAULT.batch_tokens, metavar="N", help="a batch (8192)")
    parser.add_argument("--precision", default=DEFAULT.precision, metavar="NAME", help=_choices("precision"))
    parser.add_argument("--gpus", type=int, metavar="N", help="to use (all); 0 embeds on the cores")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes with the model (one a GPU, or for four cores)"
    )
    parser.add_argument("--address", default="", metavar="TEXT", help="of a running Ray cluster (default: a local one)")


def _choices(name: str) -> str:
    return f"{', '.join(CHOICES[name])} ({getattr(DEFAULT, name)})"


def _embed(options: argparse.Namespace) -> None:
    from resvae_ray.data.proteins import ProteinChoice
    from resvae_ray.embed.embed_proteins import embed_proteins
    from resvae_ray.embed.workers import Workers

    settings = Embedding(
        options.model, options.pooling, options.max_length, options.long, options.batch_tokens, options.precision
    )
    with progress_bar("embedding", "sequences") as progress:
        summary = embed_proteins(
            options.proteins,
            options.features,
            settings,
            columns=ProteinChoice(options.id_column, options.sequence_column, options.label_column, options.ids),
            sites=options.sites,
            workers=Workers(options.gpus, options.workers, options.address),
            progress=progress,
        )
    vectors = ", ".join(f"{width} features ({pooling})" for pooling, width in summary.widths.items())
    print(f"{summary.path}: {summary.rows:,} proteins x {vectors}, {summary.precision}")
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
