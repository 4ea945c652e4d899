"""The verbs of a search: tune, config, export, and status from its own module."""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import Field, fields, replace
from typing import TYPE_CHECKING, Any

from resvae_ray.cli import status_verb
from resvae_ray.cli.verb import add_verb
from resvae_ray.config import DEFAULT_SCENARIO, Config, field_type, pinned
from resvae_ray.config_field import about, in_full
from resvae_ray.config_file import SECTIONS, config_to_toml, load_config, scenario_heading, scenario_names
from resvae_ray.errors import UsageError
from resvae_ray.names import RUN_FILE

if TYPE_CHECKING:
    from resvae_ray.files.place import Place
    from resvae_ray.search.run.run import Run

METAVARS = {int: "N", float: "X", str: "TEXT"}
TRAINING_GROUP = "A field of [training] that is given, here or below, is fixed; the search varies the rest of [space]."
SECTION_GROUPS = {  # section of the configuration: the group of its options in `tune --help`, and its description
    "resources": ("machine", None),
    "training": ("model and training", TRAINING_GROUP),
}


def add_verbs(verbs: Any) -> None:
    _add_config(verbs)
    _add_tune(verbs)
    status_verb.add_verb_status(verbs)
    _add_export(verbs)


def _add_tune(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "tune",
        _tune,
        "search for the Res-VAE that compresses a DATASET best",
        arguments={"DATASET": "folder that split wrote", "RUN": "output folder, which keeps the whole search"},
        example="dataset run --config high_fidelity",
    )
    parser.add_argument(
        "--config",
        metavar="FILE|NAME",
        help=f"TOML file or scenario: {', '.join(scenario_names())} (default: {DEFAULT_SCENARIO})",
    )
    parser.add_argument("--resume", action="store_true", help="resume RUN; with a larger --trials, extend it")
    parser.add_argument("--tensorboard", action="store_true", help="start TensorBoard for this search on this machine")
    parser.add_argument("--like", metavar="RUN", help="begin with the best trials of an earlier RUN, on other data")
    add_fields(parser)


def add_fields(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each field of [search], [resources] and [training]; `with_fields` reads them."""
    groups = {section: parser.add_argument_group(*about_it) for section, about_it in SECTION_GROUPS.items()}
    rare = parser.add_argument_group("rarely used")
    for section in ("training", "search", "resources"):
        for it in fields(SECTIONS[section]):
            is_pin = section == "training" and it.name != "epochs"
            group = rare if about(it).rare else groups[section] if is_pin or section == "resources" else parser
            _add_field(group, f"{'pin' if is_pin else section}.{it.name}", section, it)
    parser.epilog = (
        "The defaults are those of the configuration; a scenario or a file may set others.\n"
        "`resvae-ray config` prints all fields as TOML."
    )


def _add_field(group: Any, target: str, section: str, it: Field[Any]) -> None:
    kind = field_type(SECTIONS[section], it.name)
    options: dict[str, Any] = {"dest": target, "help": in_full(it).replace("%", "%%"), "default": None}
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        words = about(it).words
        options |= {"type": _number_or_word(kind, words), "metavar": "|".join([METAVARS[kind], *words])}
    group.add_argument(f"--{it.name.replace('_', '-')}", **options)


def _number_or_word(kind: Callable[[str], Any], words: tuple[str, ...]) -> Callable[[str], Any]:
    """Reads one of `words`, or text of type `kind`."""

    def read(text: str) -> Any:
        return text if text in words else kind(text)

    read.__name__ = " or ".join([kind.__name__, *words])  # argparse says "invalid float or auto value"
    return read


def _tune(options: argparse.Namespace) -> None:
    config = _tune_config(options)
    from resvae_ray.search.tune import tune

    started = time.monotonic()
    how: dict[str, Any] = {"resume": options.resume, "tensorboard": options.tensorboard, "like": options.like}
    run = tune(options.dataset, options.run, config, **how)
    say_searched(run, time.monotonic() - started)


def say_searched(run: "Run", seconds: float) -> None:
    """Prints the outcome of a search, and to stderr what it lost.

    Args:
        seconds: that it ran this time.
    """
    stands, best = run.standing(), run.saved_best()
    ended = ", ".join(f"{count} {state}" for state, count in stands.counts.items() if count)
    print(f"{run.where}: {ended}; {stands.epochs:,} epochs in all, {seconds:,.0f} s this time")
    if stands.state == "interrupted":
        print(f"stopped by --max-hours; resume with: {run.resume_command}")
    if stands.enough:
        print(f"ended by itself: {stands.enough}; to add trials: {run.resume_command} --trials N")
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
            raise UsageError("--resume uses the configuration of the run; remove --config")
        config = Run.open(options.run).config
    else:
        config = load_config(options.config or DEFAULT_SCENARIO)
    return with_fields(config, options)


def with_fields(config: Config, options: argparse.Namespace) -> Config:
    """The configuration with the fields that options of `add_fields` give.

    Raises:
        UsageError: a value is out of range, or nothing is left to search.
    """
    given = {key: value for key, value in vars(options).items() if "." in key and value is not None}
    for section in fields(Config):
        if changes := _of_section(given, section.name):
            config = replace(config, **{section.name: replace(getattr(config, section.name), **changes)})
    pins = _of_section(given, "pin")
    return pinned(config, pins) if pins else config


def _of_section(given: dict[str, Any], section: str) -> dict[str, Any]:
    return {key.split(".")[1]: value for key, value in given.items() if key.startswith(f"{section}.")}


def _add_config(verbs: Any) -> None:
    add_verb(
        verbs,
        "config",
        _config,
        "print a commented TOML configuration to start from",
        arguments={"[SCENARIO]": f"{', '.join(scenario_names())}, or a TOML file (default: {DEFAULT_SCENARIO})"},
        example="high_fidelity > search.toml",
    ).set_defaults(scenario=DEFAULT_SCENARIO)


def _config(options: argparse.Namespace) -> None:
    print(config_to_toml(load_config(options.scenario), scenario_heading(options.scenario)), end="")


def _add_export(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "export",
        _export,
        "write the best model of a RUN, or published weights, as a MODEL",
        arguments={
            "RUN": "folder of a search, or a .pt file with weights of the published class",
            "MODEL": "output folder",
        },
        example="run model --onnx",
    )
    parser.add_argument(
        "--onnx", action="store_true", help="also write model.onnx: features to latents, for onnxruntime"
    )
    parser.add_argument(
        "--torch-export", action="store_true", help="also write model.pt2: features to latents, for torch.export.load"
    )


def _export(options: argparse.Namespace) -> None:
    from resvae_ray.files.place import place
    from resvae_ray.search.export import export

    path = export(options.run, options.model, onnx=options.onnx, torch_export=options.torch_export)
    say_exported(path)
    if (place(options.run) / RUN_FILE).exists():
        from resvae_ray.search.run.run import Run

        _say_what_was_lost(Run.open(options.run))


def say_exported(path: "Place") -> None:
    """Prints the widths of a MODEL and its loss."""
    from resvae_ray.model.pretrained import read_model_config

    config = read_model_config(path)
    loss = f", validation loss {config['best_val_loss']:,.2f}" if "best_val_loss" in config else ""
    print(f"{path}: {config['input_dim']} features to {config['z_dim']} latents{loss}")


def _say_what_was_lost(run: Any) -> None:
    if lost := run.lost_best():
        print(f"resvae-ray: {lost}", file=sys.stderr)
