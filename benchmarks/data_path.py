"""The share of a training epoch that moving rows from their file to the network takes.

    python -m benchmarks.data_path [--rows 200000] [--rounds 5] [--steps 200]

Reads an epoch of zstd-compressed FEATURES (rows × 1280) without training, once from rows held in memory and once
streamed from disk, and trains some steps (1280/859/18, batch 32, one thread) on batches that are in memory already.
Prints the CPU time of a row in each, and the share of feeding in an epoch of both ways.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import interleaved, report
from resvae_ray.config import DataConfig, TrainingConfig
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.stream import ResidentRows, Rows, open_rows
from resvae_ray.data.synthetic import synthetic_batches
from resvae_ray.model.training import Training
from resvae_ray.names import TRAIN

DIM, BATCH, SEED = 1280, 32, 0


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        dataset = _dataset(Path(folder), options.rows)
        resident = open_rows(dataset, TRAIN, DataConfig(mode="resident"))
        streamed = open_rows(dataset, TRAIN, DataConfig(mode="stream"))
        step = _Steps(resident, options.steps)
        seconds = interleaved(
            {"resident": lambda: _feed(resident), "streaming": lambda: _feed(streamed), "training": step},
            options.rounds,
        )
    fed = resident.rows
    per_row = {"resident": seconds["resident"] / fed, "streaming": seconds["streaming"] / fed}
    training = seconds["training"] / step.rows
    shares = {way: cost / (cost + training) for way, cost in per_row.items()}
    report("data_path", rows=fed, us_a_row={**_micro(per_row), "training": 1e6 * training}, share=shares)


def _micro(seconds: dict[str, float]) -> dict[str, float]:
    return {name: 1e6 * value for name, value in seconds.items()}


def _dataset(folder: Path, rows: int) -> Dataset:
    with FeaturesWriter(folder / "features.parquet", DIM, {"model": "SYNTHETIC"}) as writer:
        for batch in synthetic_batches(rows, DIM):
            writer.write(batch)
    return split_features(folder / "features.parquet", folder / "dataset")


def _feed(rows: Rows) -> None:
    for _ in rows.shuffled(BATCH, SEED, 1):
        pass


class _Steps:
    """Trains on the same few batches, over and over."""

    def __init__(self, rows: Rows, steps: int) -> None:
        batches = list(itertools.islice(rows.shuffled(BATCH, SEED, 1), steps))
        held = ResidentRows(torch.from_numpy(np.concatenate([batch.numpy() for batch in batches])))
        self.rows, self._batches, self._epoch = held.rows, batches, 0
        self._training = Training(TrainingConfig(z_dim=18, hidden_dim=859, epochs=1000), held, held, SEED)

    def __call__(self) -> None:
        """A pass over the batches."""
        self._training.model.train()
        for batch in self._batches:
            self._training._step(batch, 0.5)


if __name__ == "__main__":
    main()
