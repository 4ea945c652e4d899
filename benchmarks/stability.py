"""How many configurations of a scenario's space diverge?

    python -m benchmarks.stability DATASET [--config high_fidelity] [--points 64] [--epochs 20] [--workers 2]

begins the training of the points of a Sobol sequence over the space, each on one thread, and stops it after `--epochs`
of its schedule: by then the warm-up is over and the learning rate near its highest. Prints each that diverged, or whose
loss is `--spoilt` times (3) its lowest so far, as a line of JSON, and at the end how many of how many.
"""

import argparse
import json
import multiprocessing
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.record_curves import points_of
from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import open_sides
from resvae_ray.model.training import Diverged, Training

Task = tuple[str, dict[str, Any], Config, int]  # dataset, point, scenario, epochs


def main() -> None:
    """Trains and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--config", default="high_fidelity")
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--spoilt", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    config = load_config(options.config)
    if not 1 <= options.epochs <= config.training.epochs:
        parser.error(f"--epochs {options.epochs}: expected 1 to the {config.training.epochs} of the scenario")
    tasks = [(options.dataset, point, config, options.epochs) for point in points_of(config, options.points)]
    diverged, spoilt = 0, 0
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for found in tqdm(pool.imap_unordered(_begun, tasks), total=len(tasks)):
            lost, losses = found["diverged"], found["losses"]
            worse = not lost and losses[-1] > options.spoilt * min(losses)
            diverged, spoilt = diverged + lost, spoilt + worse
            if lost or worse:
                tqdm.write(json.dumps(found))
    print(json.dumps({"points": options.points, "diverged": diverged, "spoilt": spoilt}))


def _begun(task: Task) -> dict[str, Any]:
    """The losses of the first epochs, of fewer where it diverged."""
    path, point, config, epochs = task
    torch.set_num_threads(1)
    training = Training(replace(config.training, **point), *open_sides(Dataset.open(path), config.data))
    losses, diverged = [], False
    try:
        for metrics in islice(training.epochs(), epochs):
            losses.append(metrics[names.VAL_LOSS])
    except Diverged:
        diverged = True
    return {**point, "diverged": diverged, "losses": losses}


if __name__ == "__main__":
    main()
