"""How many CPU seconds until a training has a given loss on the paper's scale, and how many does all of it take?

    OMP_NUM_THREADS=1 python benchmarks/time_to_loss.py DATASET --target 10089 [--config recommended] [--seeds 3]
        [--base FIELD=VALUE …] [--epochs N]

trains [training] of a scenario, with these fields changed, under every seed, on one thread, and prints a line of JSON
for each. `--epochs` stops a training after N epochs of its schedule. Import and reading do not count. The script also
runs with an earlier version of the package, to compare both: `PYTHONPATH=CHECKOUT python benchmarks/time_to_loss.py …`.
"""

import argparse
import json
import time
from dataclasses import replace
from itertools import islice

import torch

from resvae_ray.config import DataConfig
from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import open_sides
from resvae_ray.model.training import Training

PAPER_LOSS, VAL_LOSS = "paper_loss", "val_loss"  # the first only where trials are compared by another beta


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--target", type=float, required=True)
    parser.add_argument("--config", default="recommended")
    parser.add_argument("--base", nargs="*", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(options.config).training
    for text in options.base:
        name, _, value = text.partition("=")
        config = replace(config, **{name: type(getattr(config, name))(value) if name != "beta" else float(value)})
    sides = open_sides(Dataset.open(options.dataset), DataConfig(mode="resident"))
    for seed in options.seeds:
        started, reached, loss, lowest, epochs = time.process_time(), None, 0.0, float("inf"), 0
        for metrics in islice(Training(config, *sides, seed=seed).epochs(), options.epochs):
            loss, epochs = metrics.get(PAPER_LOSS, metrics[VAL_LOSS]), epochs + 1
            lowest = min(lowest, loss)
            if reached is None and loss <= options.target:
                reached = {"cpu_s": round(time.process_time() - started, 1), "epoch": epochs}
        whole = {"cpu_s": round(time.process_time() - started, 1), "epochs": epochs}
        print(json.dumps({"seed": seed, "reached": reached, "whole": whole, "lowest": round(lowest)}), flush=True)


if __name__ == "__main__":
    main()
