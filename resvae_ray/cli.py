"""`resvae-ray`: verbs and exit codes, no logic.

Exit codes: 0 done, 1 the job failed, 2 wrong usage or configuration, 3 bad data, 130 interrupted. Results go to stdout,
progress and errors to stderr; an error is one line. A verb loads what it needs when it runs.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from resvae_ray._version import __version__
from resvae_ray.config import DEFAULT_SCENARIO, Config, load_config, scenario_names
from resvae_ray.errors import Interrupted, JobError, ResVAERayError, UsageError
from resvae_ray.names import RUN_FILE


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    options = build_parser().parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        options.verb(options)
    except ResVAERayError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; run the same command again to go on", Interrupted.exit_code)
    except BrokenPipeError:
        # Whoever read the output has seen enough; what Python would flush at the end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (PermissionError, OSError) as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}", JobError.exit_code)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"resvae-ray: {' '.join(message.split())}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    parser = _Parser(prog="resvae-ray", description="Finds the Res-VAE that compresses protein features best.")
    parser.add_argument("--version", action="version", version=f"resvae-ray {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB", parser_class=_Parser)
    _add_import(verbs)
    _add_split(verbs)
    _add_tune(verbs)
    _add_status(verbs)
    _add_export(verbs)
    _add_encode(verbs)
    _add_demo(verbs)
    return parser


def _add_verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=f"{text}.")
    parser.set_defaults(verb=run)
    return parser


# --- import ------------------------------------------------------------------------------------------------------


def _add_import(verbs: Any) -> None:
    parser = _add_verb(verbs, "import", _import, "read features (Parquet, NPZ, NPY, CSV, TSV) and write FEATURES")
    parser.add_argument("source", metavar="SOURCE", help="a file; for Parquet also a folder or a glob")
    parser.add_argument(
        "features", metavar="FEATURES", help="what to write: a file if it ends in .parquet, else a folder"
    )
    parser.add_argument("--id-column", metavar="NAME", help="the column or array of ids (default: id, Entry_ID, …)")
    parser.add_argument("--label-column", metavar="NAME", help="the column or array of labels (default: label)")
    parser.add_argument(
        "--features-column", metavar="NAME", help="the column of vectors or the matrix, if there are several"
    )
    parser.add_argument("--prefix", metavar="TEXT", help="of numbered columns, one a feature: ESM2_cls for ESM2_cls0 …")
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

    choice = ColumnChoice(options.id_column, options.label_column, options.features_column, options.prefix)
    with _progress("importing") as progress:
        summary = import_features(
            options.source, options.features, choice, describe=_key_values(options.describe), progress=progress
        )
    label = "with labels" if summary.label else "without labels"
    print(f"{summary.path}: {summary.rows:,} proteins x {summary.dim} features, {label}")


def _key_values(items: Sequence[str]) -> dict[str, str]:
    for item in items:
        if "=" not in item:
            raise UsageError(f"--describe {item}: expected KEY=VALUE, such as model=esm2_t33_650M_UR50D")
    return dict(item.split("=", 1) for item in items)


# --- split -------------------------------------------------------------------------------------------------------


def _add_split(verbs: Any) -> None:
    parser = _add_verb(verbs, "split", _split, "part FEATURES into a DATASET with training and validation rows")
    parser.add_argument("features", metavar="FEATURES")
    parser.add_argument("dataset", metavar="DATASET", help="the folder to write")
    parser.add_argument(
        "--val-fraction", type=float, default=0.2, metavar="X", help="of the rows validate (default 0.2)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random split (default 0)")
    parser.add_argument("--exclude", metavar="OTHER", help="a test set whose ids and sequences must not be trained on")
    parser.add_argument("--drop", action="store_true", help="leave those out instead of refusing")


def _split(options: argparse.Namespace) -> None:
    from resvae_ray.data.split import split_features

    if options.drop and not options.exclude:
        raise UsageError("--drop: says what to do with rows that --exclude finds; give --exclude OTHER too")
    with _progress("splitting") as progress:
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


# --- tune --------------------------------------------------------------------------------------------------------

# flag, section of the configuration, field, help
_TUNE_FLAGS = (
    ("--trials", "search", "trials", "trials (50)"),
    ("--epochs", "training", "epochs", "epochs of a trial at most (80)"),
    ("--seed", "search", "seed", "of the search (0)"),
    ("--max-hours", "search", "max_hours", "stop after so many hours; 0 is no limit"),
    ("--grace", "search", "grace", "epochs before a trial may be stopped early (10)"),
    ("--reduction-factor", "search", "reduction_factor", "one in so many goes on at a rung (3)"),
    ("--brackets", "search", "brackets", "of ASHA (1)"),
    ("--cpus-per-trial", "resources", "cpus_per_trial", "cores a trial (chosen from the machine)"),
    ("--gpus-per-trial", "resources", "gpus_per_trial", "GPUs a trial, whole or a fraction (chosen from the machine)"),
    ("--concurrent", "resources", "concurrent", "trials at the same time (chosen from the machine)"),
    ("--address", "resources", "address", "of a running Ray cluster; auto finds the one of this machine"),
)


def _add_tune(verbs: Any) -> None:
    parser = _add_verb(verbs, "tune", _tune, "search the best Res-VAE for a DATASET")
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("run", metavar="RUN", help="the folder that keeps all of the search")
    scenarios = ", ".join(scenario_names())
    parser.add_argument("--config", metavar="FILE|NAME", help=f"a TOML file or a scenario: {scenarios}")
    for flag, section, name, text in _TUNE_FLAGS:
        kind = type(getattr(getattr(Config(), section), name))
        parser.add_argument(flag, type=kind, dest=f"{section}.{name}", metavar=kind.__name__.upper(), help=text)
    parser.add_argument(
        "--try-first",
        action="store_true",
        default=None,
        dest="search.try_first",
        help="propose the configuration of [training] first: by default the paper's optimum",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the search in RUN; a larger --trials extends it"
    )


def _tune(options: argparse.Namespace) -> None:
    config = _tune_config(options)
    from resvae_ray.search.run import Run
    from resvae_ray.search.tune import tune

    started = time.monotonic()
    run = tune(options.dataset, options.run, config, resume=options.resume)
    status = Run.open(run.path).status()
    counts = status["counts"]
    ended = ", ".join(f"{counts[state]} {state}" for state in counts if counts[state])
    print(f"{run.path}: {ended}; {status['epochs']:,} epochs in all, {time.monotonic() - started:,.0f} s this time")
    if status["state"] == "interrupted":
        print(f"stopped by --max-hours; go on with: resvae-ray tune {options.dataset} {options.run} --resume")
    _print_result(run)


def _tune_config(options: argparse.Namespace) -> Config:
    if options.resume:
        from resvae_ray.search.run import Run

        if options.config:
            raise UsageError("--resume goes on with the configuration of the run; leave out --config")
        config = Run.open(options.run).config
    else:
        config = load_config(options.config or DEFAULT_SCENARIO)
    given = {key: value for key, value in vars(options).items() if "." in key and value is not None}
    for section in fields(Config):
        changes = {key.split(".")[1]: value for key, value in given.items() if key.startswith(f"{section.name}.")}
        if changes:
            config = replace(config, **{section.name: replace(getattr(config, section.name), **changes)})
    return config


def _print_result(run: Any) -> None:
    best = run.best()
    if best is not None:
        print(run.result_table(best).to_string(index=False))


# --- status ------------------------------------------------------------------------------------------------------


def _add_status(verbs: Any) -> None:
    parser = _add_verb(verbs, "status", _status, "tell how a search stands, while it runs and after")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--watch", action="store_true", help="again every few seconds, until the search ends")


def _status(options: argparse.Namespace) -> None:
    from resvae_ray.search.run import Run

    while True:
        run = Run.open(options.run)
        status = run.status()
        print(json.dumps(status, indent=2) if options.json else _status_text(run, status), flush=True)
        if not options.watch or status["state"] != "running":
            return
        time.sleep(5)


def _status_text(run: Any, status: dict[str, Any]) -> str:
    counts = ", ".join(f"{number} {state}" for state, number in status["counts"].items())
    lines = [f"{run.path}: {status['state']}; {counts}; {status['epochs']:,} epochs"]
    if best := status["best"]:
        params = ", ".join(f"{name} {value:.4g}" for name, value in best["params"].items())
        lines.append(
            f"best: trial {best['number']}, loss {best['best_val_loss']:,.2f} at epoch {best['best_epoch']} ({params})"
        )
    for trial in status["running"]:
        loss = f", best {trial['best_val_loss']:,.2f}" if trial["best_val_loss"] is not None else ""
        lines.append(f"running: trial {trial['number']}, {trial['epochs']} epochs{loss}, on {trial['node']}")
    lines += [f"failed: trial {failure['number']}: {failure['failure']}" for failure in status["failures"]]
    if status["state"] == "interrupted":
        lines.append(f"go on with: resvae-ray tune {run.info['dataset']['path']} {run.path} --resume")
    return "\n".join(lines)


# --- export ------------------------------------------------------------------------------------------------------


def _add_export(verbs: Any) -> None:
    parser = _add_verb(verbs, "export", _export, "write the best model of a RUN, or published weights, as a MODEL")
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a .pt file with the published class's weights")
    parser.add_argument("model", metavar="MODEL", help="the folder to write")


def _export(options: argparse.Namespace) -> None:
    from resvae_ray.model.bundle import read_model_config
    from resvae_ray.search.export import export

    path = export(options.run, options.model)
    config = read_model_config(path)
    loss = f", validation loss {config['best_val_loss']:,.2f}" if "best_val_loss" in config else ""
    print(f"{path}: {config['input_dim']} features to {config['z_dim']} latents{loss}")
    if (Path(options.run) / RUN_FILE).exists():
        _say_if_better_is_lost(options.run, config)


def _say_if_better_is_lost(run: str, config: dict[str, Any]) -> None:
    from resvae_ray.search.run import Run

    best = Run.open(run).best()
    if best is not None and best.best_val_loss < config["best_val_loss"]:
        print(
            f"resvae-ray: trial {best.number} had {best.best_val_loss:,.2f} in epoch {best.best_epoch} and was cut off "
            "before it saved that; tune --resume gets it back",
            file=sys.stderr,
        )


# --- encode ------------------------------------------------------------------------------------------------------


def _add_encode(verbs: Any) -> None:
    parser = _add_verb(verbs, "encode", _encode, "turn FEATURES into LATENTS with a MODEL")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("features", metavar="FEATURES", help="FEATURES, or a DATASET for both of its sides")
    parser.add_argument(
        "latents", metavar="LATENTS", help="what to write: a file if it ends in .parquet, else a folder"
    )
    parser.add_argument("--sample", action="store_true", help="draw the latents instead of taking their mean")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (default 0)")
    parser.add_argument("--logvar", action="store_true", help="also write the logarithm of the posterior variance")
    parser.add_argument("--recon-error", action="store_true", help="also write each protein's reconstruction error")
    parser.add_argument("--address", default="", metavar="TEXT", help="of a running Ray cluster (default: a local one)")


def _encode(options: argparse.Namespace) -> None:
    from resvae_ray.encode import Output, encode_features

    output = Output(options.sample, options.seed, options.logvar, options.recon_error)
    with _progress("encoding") as progress:
        rows = encode_features(
            options.model, options.features, options.latents, output, address=options.address, progress=progress
        )
    print(f"{options.latents}: {rows:,} proteins")


# --- demo --------------------------------------------------------------------------------------------------------


def _add_demo(verbs: Any) -> None:
    parser = _add_verb(verbs, "demo", _demo, "run the whole flow on synthetic features, in a few minutes")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default="resvae-ray-demo")


def _demo(options: argparse.Namespace) -> None:
    from resvae_ray.demo import demo

    demo(options.folder, main)


# --- progress ----------------------------------------------------------------------------------------------------


@contextmanager
def _progress(verb: str) -> Iterator[Callable[[int], None]]:
    """A function that is told the rows so far; shows them where a person looks, and nothing in a log file."""
    from tqdm import tqdm

    with tqdm(desc=verb, unit=" rows", unit_scale=True, disable=None, file=sys.stderr) as bar:

        def show(rows: int) -> None:
            bar.update(rows - bar.n)

        yield show
