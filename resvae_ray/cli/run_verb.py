"""The verb that does everything: run, from proteins or features to a model, latents and a report."""

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resvae_ray import names
from resvae_ray.cli import check_verb, data_verbs, embed_verb, report_verbs, search_verbs
from resvae_ray.cli.verb import add_verb, progress_bar
from resvae_ray.config_file import load_config, scenario_names
from resvae_ray.embed.settings import CHOICES, Embedding
from resvae_ray.flow.watch import Watch
from resvae_ray.progress import Progress, duration, silent

if TYPE_CHECKING:
    from resvae_ray.flow.flow_settings import FlowSettings
    from resvae_ray.flow.plan import Plan
    from resvae_ray.flow.steps import Step

DOING = {
    "import": ("importing", "rows"),
    "embed": ("embedding", "sequences"),
    "check": ("checking", "rows"),
    "split": ("splitting", "rows"),
    "evaluate": ("evaluating", "rows"),
    "encode": ("encoding", "rows"),
    "report": ("drawing", "figures"),
}
EMBEDDING = Embedding()
CHOSEN = ("model", "pooling", "max_length", "long")  # of its fields
COLUMNS = ("id_column", "label_column", "features_column", "prefix")


def add_verbs(verbs: Any) -> None:
    """Adds it."""
    parser = add_verb(
        verbs,
        "run",
        _run,
        "take proteins or features to a model, latents and a report, in one folder",
        arguments={
            "SOURCE": "FASTA, or features in any format that import reads",
            "OUT": "output folder; the same command resumes it",
        },
        example="proteins.csv out --prefix ESM2_cls --exclude test_set.csv",
    )
    parser.add_argument("--dry-run", action="store_true", help="print steps, sizes and time, and do nothing")
    parser.add_argument(
        "--exclude", metavar="OTHER", help="test set (FEATURES, table, FASTA or list of ids) to keep out of training"
    )
    columns = parser.add_argument_group("columns of a table")
    columns.add_argument("--id-column", metavar="NAME", help="column with the ids (default: id, Entry_ID, …)")
    columns.add_argument("--label-column", metavar="NAME", help="column with the labels (default: label)")
    columns.add_argument("--features-column", metavar="NAME", help="column with vectors, or matrix of a file")
    columns.add_argument("--prefix", metavar="TEXT", help="common start of numbered feature columns: ESM2_cls")
    sequences = parser.add_argument_group("sequences", "FASTA is embedded, and a table with --sequence-column.")
    sequences.add_argument("--sequence-column", metavar="NAME", help="column of a table with the sequences")
    sequences.add_argument(
        "--model", metavar="NAME|FOLDER", help=f"protein language model (default: {EMBEDDING.model})"
    )
    sequences.add_argument(
        "--pooling",
        metavar="NAME",
        help="vector made of each protein: cls, eos, mean, segments (default: cls; mean for ProtT5, ProstT5 and Ankh)",
    )
    sequences.add_argument(
        "--layer", type=int, metavar="N", help="hidden layer (default: the last; see 'embed --help')"
    )
    sequences.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help=f"residues that the model reads at once (at least 1; default: {EMBEDDING.max_length})",
    )
    sequences.add_argument(
        "--long",
        metavar="NAME",
        help=f"treatment of long sequences: {', '.join(CHOICES['long'])} (default: {EMBEDDING.long})",
    )
    parser.add_argument(
        "--config",
        metavar="FILE|NAME",
        help=f"TOML file or scenario: {', '.join(scenario_names())} (default: recommended with one trial)",
    )
    search_verbs.add_fields(parser)


def _run(options: argparse.Namespace) -> None:
    if options.dry_run:
        from resvae_ray.flow.plan import plan

        _print_plan(options.source, plan(options.source, options.out, _settings(options)))
        return
    from resvae_ray.flow.run_all import run_all

    settings = _settings(options)
    folder = run_all(options.source, options.out, settings, watch=Shown(settings))
    page = folder / names.REPORT_FOLDER / names.REPORT_FILE
    print(f"\nMODEL:   {folder / 'model'}\nLATENTS: {folder / 'latents.parquet'}\nreport:  {page}")


def _settings(options: argparse.Namespace) -> "FlowSettings":
    from resvae_ray.data.layout import ColumnChoice
    from resvae_ray.flow.flow_settings import FlowSettings, flow_config

    config = load_config(options.config) if options.config else flow_config()
    given = {name: value for name in CHOSEN if (value := getattr(options, name)) is not None}
    if options.layer is not None:
        given["layers"] = (options.layer,)
    return FlowSettings(
        search_verbs.with_fields(config, options),
        ColumnChoice(**{name: getattr(options, name) for name in COLUMNS}),
        options.sequence_column,
        replace(EMBEDDING, **given) if given else None,
        options.exclude,
    )


class Shown(Watch):
    """Prints each step's command and, when it has ended, what the verb itself prints."""

    def __init__(self, settings: "FlowSettings") -> None:
        self._settings, self._started = settings, 0.0

    def found(self, step: "Step", number: int, of: int) -> None:
        """Prints where the result is."""
        print(f"[{number}/{of}] {step.name}: {step.result} exists", flush=True)

    def begins(self, step: "Step", number: int, of: int) -> AbstractContextManager[Progress]:
        """Prints the command; a search shows its own progress."""
        print(f"\n[{number}/{of}] $ {step.command}", flush=True)
        self._started = time.monotonic()
        return progress_bar(*DOING[step.name]) if step.name in DOING else nullcontext(silent)

    def ended(self, step: "Step", result: Any) -> None:
        """Prints the result as the single verb does."""
        seconds = time.monotonic() - self._started
        say: dict[str, Callable[[Any], None]] = {
            "import": data_verbs.say_imported,
            "embed": lambda summary: embed_verb.say_embedded(summary, self._settings.embedding or EMBEDDING),
            "check": lambda check: print(check_verb.check_table(check)),
            "split": lambda dataset: data_verbs.say_split(dataset, self._settings.exclude),
            "tune": lambda run: search_verbs.say_searched(run, seconds),
            "export": search_verbs.say_exported,
            "evaluate": lambda evaluation: print(evaluation.text()),
            "encode": lambda rows: print(f"{step.result}: {rows:,} proteins"),
            "report": report_verbs.say_report,
        }
        say[step.name](result)


def _print_plan(source: str, found: "Plan") -> None:
    seen = found.source
    width = f" x {seen.dim:,} features" if seen.dim else ""
    print(f"{source}: {'' if seen.whole else 'more than '}{seen.rows:,} proteins{width}\n")
    for number, planned in enumerate(found.steps, 1):
        facts = ["exists" if planned.done else "to do"]
        if planned.size and not planned.done:
            facts.append(f"at most {_size(planned.size)}")
        if planned.seconds and not planned.done:
            facts.append(f"up to about {duration(max(1.0, planned.seconds))}")
        print(f"[{number}/{len(found.steps)}] {planned.step.result} ({', '.join(facts)})")
        print(f"      $ {planned.step.command}")
    if not seen.dim or not seen.whole:
        print("\nSizes and time depend on the number of proteins and the width of their features, not all known yet.")


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{max(1, size // 10**6):,} MB"
