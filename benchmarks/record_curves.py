"""Learning curves of many configurations to their full length, recorded once.

    python -m benchmarks.record_curves DATASET OUT.parquet [--points 64] [--config esm2_650m_cls] [--workers 2]

trains the points of a Sobol sequence over the scenario's space to the end, each on one thread, without stopping any,
and adds a row per point to OUT: the parameters, the seed, seconds per epoch and the validation loss of every epoch.
`benchmarks.replay` compares searchers and schedulers on such a table without training. It takes hours and resumes where
it was stopped, and a longer sequence begins with the points of a shorter one.
"""

import argparse
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import qmc
from tqdm import tqdm

from resvae_ray import names
from resvae_ray.config import Config, Domain
from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import open_sides
from resvae_ray.files.atomic import staged_file
from resvae_ray.model.training import Diverged, Training

Task = tuple[str, Config, dict[str, Any], int]  # dataset, scenario, point, seed


def main() -> None:
    """Records the points that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--config", default="esm2_650m_cls")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    config = load_config(options.config)
    rows = pd.read_parquet(options.out).to_dict("records") if options.out.exists() else []
    points = points_of(config, options.points)
    tasks = [(options.dataset, config, point, seed) for seed, point in enumerate(points)][len(rows) :]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for row in tqdm(pool.imap(_recorded, tasks), initial=len(rows), total=options.points):
            rows.append(row)
            with staged_file(options.out) as staging:
                pd.DataFrame(rows).to_parquet(staging)


def points_of(config: Config, count: int) -> Iterator[dict[str, Any]]:
    """Points of the scenario's space, spread evenly; in the logarithm where it is searched there."""
    for place in qmc.Sobol(d=len(config.space), rng=np.random.default_rng(0)).random(count):
        yield {name: _value(domain, part) for (name, domain), part in zip(config.space.items(), place, strict=True)}


def _value(domain: Domain, part: float) -> Any:
    if domain.choices:
        return domain.choices[int(part * len(domain.choices))]
    low, high = float(domain.low or 0), float(domain.high or 0)
    value = float(np.exp(np.log(low) + part * np.log(high / low)) if domain.log else low + part * (high - low))
    return round(value) if isinstance(domain.low, int) else value


def _recorded(task: Task) -> dict[str, Any]:
    """A point and the losses of all its epochs; those that a diverged training did not come to are infinite."""
    dataset, config, point, seed = task
    torch.set_num_threads(1)
    sides = open_sides(Dataset.open(dataset), config.data)
    training = Training(replace(config.training, **point), *sides, seed=seed)
    losses, seconds = [], []
    try:
        for metrics in training.epochs():
            losses.append(metrics[names.VAL_LOSS])
            seconds.append(metrics[names.SECONDS])
    except Diverged:
        losses += [np.inf] * (training.config.epochs - len(losses))
    return {**point, "seed": seed, "epoch_s": float(np.median(seconds or [0.0])), "losses": losses}


if __name__ == "__main__":
    main()
