"""The time from the command `tune` to its first training step.

    python -m benchmarks.start [--rounds 3] [--beside NAME=CHECKOUT ...]

Each round runs a search of one trial with one epoch on a small synthetic DATASET, in turn for this checkout and for
others, such as an earlier version. Prints, for each, the median wall seconds until the first epoch is reported, less
the seconds of that epoch, and the CPU seconds of all processes; and the modules that the driver has imported before Ray
starts. Wall times mean something on an idle machine only.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import report
from resvae_ray import names
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.synthetic import synthetic_batches

OPTIONS = ("--trials", "1", "--epochs", "1", "--hidden-dim", "64", "--concurrent", "1")
HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", nargs="*", default=[], metavar="NAME=CHECKOUT")
    options = parser.parse_args()
    others = (pair.partition("=") for pair in options.beside)
    checkouts = {"this": HERE} | {name: Path(path) for name, _, path in others}
    with tempfile.TemporaryDirectory() as scratch:
        dataset = _dataset(Path(scratch))
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
        for number in range(options.rounds):
            for name, checkout in checkouts.items():
                found[name].append(_start(dataset, Path(scratch) / f"{name}-{number}", checkout))
    medians = {name: [statistics.median(each) for each in zip(*pairs, strict=True)] for name, pairs in found.items()}
    report("start", rounds=options.rounds, wall_and_cpu_s=medians, all=found)


def _dataset(folder: Path) -> Path:
    with FeaturesWriter(folder / "features.parquet", 32, {}) as writer:
        for batch in synthetic_batches(256, 32, 0):
            writer.write(batch)
    split_features(folder / "features.parquet", folder / "dataset")
    return folder / "dataset"


def _start(dataset: Path, run: Path, checkout: Path) -> tuple[float, float]:
    """Wall seconds to the first step, and CPU seconds of the whole command."""
    command = [sys.executable, "-m", "resvae_ray", "tune", str(dataset), str(run), *OPTIONS]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    # Python looks first in the working folder, which must not be this checkout.
    subprocess.run(
        command, check=True, capture_output=True, cwd=run.parent, env=os.environ | {"PYTHONPATH": str(checkout)}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    first = json.loads((run / names.EPOCHS_FILE).read_text().splitlines()[0])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(first[names.TIME] - first[names.SECONDS] - began, 2), round(cpu, 2)


if __name__ == "__main__":
    main()
