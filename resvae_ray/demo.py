"""The whole flow on a synthetic data set: what a user would type, one command after another."""

import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from resvae_ray.config_file import config_to_toml, load_config
from resvae_ray.data.synthetic import LABELS, PREFIX, RANK, write_synthetic_csv
from resvae_ray.errors import JobError, UsageError
from resvae_ray.files.atomic import write_json, write_text
from resvae_ray.files.place import local_target

ROWS = 1500
DIM = 1280
SCENARIO = "quick"
MARKER = "synthetic-demo.json"  # marks a folder that the demo created and may replace
MADE = ("synthetic.csv", "synthetic.toml", "features.parquet", "dataset", "run", "model", "latents.parquet")

NEXT = """
Everything above is about SYNTHETIC features: it shows the way, and nothing about proteins.

On your own data, a table with an id column and numbered feature columns; in the checkout:
  source .venv/bin/activate
  resvae-ray import YOUR.csv features.parquet --prefix ESM2_cls
  resvae-ray split  features.parquet dataset     # if there is a test set to keep apart: --exclude TEST_SET.csv --drop
  resvae-ray tune   dataset run --config recommended --trials 1
  resvae-ray encode run/model features.parquet latents.parquet"""


def demo(folder: str | Path, run_command: Callable[[Sequence[str]], int]) -> None:
    """Runs import, split, tune, export and encode in `folder`, which is replaced if an earlier demo created it.

    Args:
        run_command: runs a command line of this package and returns its exit code.

    Raises:
        UsageError: the folder holds something else.
        JobError: a command failed.
    """
    place = _fresh_folder(local_target(folder))
    print(f"SYNTHETIC data set: {ROWS} rows of {DIM} numbers in {len(LABELS)} classes, made from {RANK} latent factors")
    write_synthetic_csv(place / "synthetic.csv", ROWS, DIM)
    # The result table shows the name.
    write_text(place / "synthetic.toml", config_to_toml(replace(load_config(SCENARIO), name=f"SYNTHETIC ({SCENARIO})")))
    for command in _commands(place):
        print(f"\n$ resvae-ray {shlex.join(command)}", flush=True)
        if code := run_command(command):
            raise JobError(f"the demo's command failed with exit code {code}: resvae-ray {shlex.join(command)}")
    print(f"\nMODEL:   {place / 'model'}\nLATENTS: {place / 'latents.parquet'}\n{NEXT}")


def _commands(place: Path) -> list[list[str]]:
    def at(name: str) -> str:
        return str(place / name)

    return [
        ["import", at("synthetic.csv"), at("features.parquet"), "--prefix", PREFIX, "--describe", "model=SYNTHETIC"],
        ["split", at("features.parquet"), at("dataset")],
        ["tune", at("dataset"), at("run"), "--config", at("synthetic.toml")],
        ["status", at("run")],
        ["export", at("run"), at("model")],
        ["encode", at("model"), at("features.parquet"), at("latents.parquet")],
    ]


def _fresh_folder(place: Path) -> Path:
    """The folder without what an earlier demo made in it; anything else there stays."""
    if place.exists() and any(place.iterdir()) and not (place / MARKER).is_file():
        raise UsageError(f"{place}: holds something that no demo made; choose another folder")
    for made in (place / name for name in MADE):
        if made.is_dir():
            shutil.rmtree(made)
        else:
            made.unlink(missing_ok=True)
    write_json(place / MARKER, {"about": "a demo of resvae_ray on SYNTHETIC features"})
    return place
