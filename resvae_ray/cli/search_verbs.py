"""The verbs of a search: tune, export, and status from its own module."""

import argparse
import sys
import time
from dataclasses import fields, replace
from typing import Any

from resvae_ray.cli import status_verb
from resvae_ray.cli.verb import add_verb
from resvae_ray.config import DEFAULT_SCENARIO, Config, TrainingConfig, field_type, pinned
from resvae_ray.config_file import SECTIONS, load_config, scenario_names
from resvae_ray.errors import UsageError
from resvae_ray.names import RUN_FILE

# flag, section of the configuration, field, help
TUNE_FLAGS = (
    ("--trials", "search", "trials", "trials in all"),
    ("--epochs", "training", "epochs", "epochs of a trial at most"),
    ("--seed", "search", "seed", "of the search"),
    ("--max-hours", "search", "max_hours", "stop after so many hours; 0 is no limit"),
    ("--grace", "search", "grace", "epochs before a trial may be stopped early"),
    ("--reduction-factor", "search", "reduction_factor", "one in so many goes on at a rung"),
    ("--brackets", "search", "brackets", "of ASHA"),
    (
        "--finalists",
        "search",
        "finalists",
        "train so many of the best again in full, and choose among them",
    ),
    ("--seeds", "search", "seeds", "under so many seeds each (3); the lowest mean wins"),
    ("--cpus-per-trial", "resources", "cpus_per_trial", "cores a trial (chosen from the machine)"),
    ("--gpus-per-trial", "resources", "gpus_per_trial", "GPUs a trial, whole or a fraction (chosen from the machine)"),
    ("--concurrent", "resources", "concurrent", "trials at the same time (chosen from the machine)"),
    ("--address", "resources", "address", "of a running Ray cluster; auto finds the one of this machine"),
)


def add_verbs(verbs: Any) -> None:
    """Adds them."""
    _add_tune(verbs)
    status_verb.add_verb_status(verbs)
    _add_export(verbs)


def _add_tune(verbs: Any) -> None:
    parser = add_verb(verbs, "tune", _tune, "search the best Res-VAE for a DATASET")
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("run", metavar="RUN", help="the folder that keeps all of the search")
    known = ", ".join(scenario_names())
    parser.add_argument("--config", metavar="FILE|NAME", help=f"a TOML file or a scenario: {known}")
    for flag, section, name, text in TUNE_FLAGS:
        kind = field_type(SECTIONS[section], name)
        parser.add_argument(flag, type=kind, dest=f"{section}.{name}", metavar=kind.__name__.upper(), help=text)
    parser.add_argument(
        "--try-first",
        action="store_true",
        default=None,
        dest="search.try_first",
        help="propose the configuration of [training] first: by default the paper's optimum",
    )
    parser.add_argument("--tensorboard", action="store_true", help="show the search in a browser on this machine")
    parser.add_argument("--resume", action="store_true", help="go on with RUN; a larger --trials extends it")
    pins = parser.add_argument_group("fields of [training]; one that is given is not searched")
    for name in (field.name for field in fields(TrainingConfig) if field.name != "epochs"):
        kind = field_type(TrainingConfig, name)
        pins.add_argument(f"--{name.replace('_', '-')}", type=kind, dest=f"pin.{name}", metavar=kind.__name__.upper())


def _tune(options: argparse.Namespace) -> None:
    config = _tune_config(options)
    from resvae_ray.search.tune import tune

    started = time.monotonic()
    run = tune(options.dataset, options.run, config, resume=options.resume, tensorboard=options.tensorboard)
    stands, best = run.status(), run.saved_best()
    ended = ", ".join(f"{count} {state}" for state, count in stands["counts"].items() if count)
    print(f"{run.where}: {ended}; {stands['epochs']:,} epochs in all, {time.monotonic() - started:,.0f} s this time")
    if stands["state"] == "interrupted":
        print(f"stopped by --max-hours; go on with: {run.resume_command}")
    if best is not None:
        print(run.result_table(best).to_string(index=False))
    for line in status_verb.finalist_lines(stands):
        print(line)
    _say_what_was_lost(run)


def _tune_config(options: argparse.Namespace) -> Config:
    """The configuration of the run to resume, of the file or of the scenario, with the flags in it."""
    if options.resume:
        from resvae_ray.search.run.run import Run

        if options.config:
            raise UsageError("--resume goes on with the configuration of the run; leave out --config")
        config = Run.open(options.run).config
    else:
        config = load_config(options.config or DEFAULT_SCENARIO)
    given = {key: value for key, value in vars(options).items() if "." in key and value is not None}
    for section in fields(Config):
        if changes := _of_section(given, section.name):
            config = replace(config, **{section.name: replace(getattr(config, section.name), **changes)})
    pins = _of_section(given, "pin")
    return pinned(config, pins) if pins else config


def _of_section(given: dict[str, Any], section: str) -> dict[str, Any]:
    return {key.split(".")[1]: value for key, value in given.items() if key.startswith(f"{section}.")}


def _add_export(verbs: Any) -> None:
    parser = add_verb(verbs, "export", _export, "write the best model of a RUN, or published weights, as a MODEL")
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a .pt file with the published class's weights")
    parser.add_argument("model", metavar="MODEL", help="the folder to write")
    parser.add_argument("--onnx", action="store_true", help="also model.onnx: features to latents, for onnxruntime")
    parser.add_argument("--torch-export", action="store_true", help="also model.pt2: the same, for torch.export.load")


def _export(options: argparse.Namespace) -> None:
    from resvae_ray.files.place import place
    from resvae_ray.model.pretrained import read_model_config
    from resvae_ray.search.export import export

    path = export(options.run, options.model, onnx=options.onnx, torch_export=options.torch_export)
    config = read_model_config(path)
    loss = f", validation loss {config['best_val_loss']:,.2f}" if "best_val_loss" in config else ""
    print(f"{path}: {config['input_dim']} features to {config['z_dim']} latents{loss}")
    if (place(options.run) / RUN_FILE).exists():
        from resvae_ray.search.run.run import Run

        _say_what_was_lost(Run.open(options.run))


def _say_what_was_lost(run: Any) -> None:
    if lost := run.lost_best():
        print(f"resvae-ray: {lost}", file=sys.stderr)
