"""The whole flow on a synthetic data set: `run`, as a user would type it."""

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
OUT = "out"
MADE = ("synthetic.csv", "synthetic.toml", OUT)

NEXT = """
Everything above is about SYNTHETIC features: it shows the way, and nothing about proteins.

On your own data, FASTA or a table with an id column and numbered feature columns; in the checkout:
  source .venv/bin/activate
  resvae-ray run YOUR.csv out --prefix ESM2_cls     # if there is a test set to keep apart: --exclude TEST_SET.csv"""


def demo(folder: str | Path, run_command: Callable[[Sequence[str]], int]) -> None:
    """Runs `run` on synthetic features in `folder`, which is replaced if an earlier demo created it.

    Args:
        run_command: runs a command line of this package and returns its exit code.

    Raises:
        UsageError: the folder holds something else.
        JobError: the command failed.
    """
    place = _fresh_folder(local_target(folder))
    print(f"SYNTHETIC data set: {ROWS} rows of {DIM} numbers in {len(LABELS)} classes, made from {RANK} latent factors")
    write_synthetic_csv(place / "synthetic.csv", ROWS, DIM)
    # The result table shows the name.
    write_text(place / "synthetic.toml", config_to_toml(replace(load_config(SCENARIO), name=f"SYNTHETIC ({SCENARIO})")))
    command = ["run", str(place / "synthetic.csv"), str(place / OUT), "--prefix", PREFIX]
    command += ["--config", str(place / "synthetic.toml")]
    print(f"\n$ resvae-ray {shlex.join(command)}", flush=True)
    if code := run_command(command):
        raise JobError(f"the demo's command failed with exit code {code}: resvae-ray {shlex.join(command)}")
    print(NEXT)


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
