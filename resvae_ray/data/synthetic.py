"""A synthetic data set that resembles ESM-2 650M `cls` features, for the demo, tests and benchmarks.

A protein is a class centre plus `rank` latent factors; its features are a linear map of the factors, a nonlinear part,
and noise, scaled to per-feature spreads and shifted by per-feature means. Means and spreads have the sizes that the
paper's training set shows: median spread 0.034, total variance 1.72 at 1280 features, means around 0.1, and a few
outlier dimensions, the largest with a mean of -9.3.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from resvae_ray.data.schema import FeatureBatch
from resvae_ray.files.atomic import staged_file
from resvae_ray.names import ID, LABEL
from resvae_ray.seeds import SYNTHETIC, derive

RANK = 12  # latent factors
LABELS = ("synthetic_A", "synthetic_B", "synthetic_C", "synthetic_D")
SHARES = (0.65, 0.15, 0.20)  # of the variance: linear part, nonlinear part, noise
OUTLIERS = ((-9.28, 0.14), (-0.62, 0.30), (0.54, 0.06), (0.41, 0.06))  # mean and spread
BLOCK_ROWS = 1024
PREFIX = "ESM2_cls"


def synthetic_batches(rows: int, dim: int = 1280, seed: int = 0) -> Iterator[FeatureBatch]:
    """`rows` synthetic proteins of `dim` numbers with a label, in blocks; the same for the same seed."""
    world = _World(dim, seed)
    for block, start in enumerate(range(0, rows, BLOCK_ROWS)):
        count = min(BLOCK_ROWS, rows - start)
        features, classes = world.draw(count, np.random.default_rng(derive(SYNTHETIC, seed, 1, block)))
        ids = pa.array([f"SYN{number:08d}" for number in range(start, start + count)])
        labels = pa.table({LABEL: pa.array([LABELS[number] for number in classes])})
        yield FeatureBatch(ids, features, labels)


def write_synthetic_csv(path: str | Path, rows: int, dim: int = 1280, seed: int = 0) -> None:
    """The set as a wide CSV (id, label, ESM2_cls0, …), the usual format in biology labs."""
    names = [f"{PREFIX}{number}" for number in range(dim)]
    schema = pa.schema([(ID, pa.string()), (LABEL, pa.string()), *((name, pa.float32()) for name in names)])
    with staged_file(Path(path)) as staging, pacsv.CSVWriter(staging, schema) as writer:
        for batch in synthetic_batches(rows, dim, seed):
            columns = [batch.ids, batch.others.column(LABEL), *(pa.array(column) for column in batch.features.T.copy())]
            writer.write_table(pa.table(columns, schema=schema))


class _World:
    """The maps and scales that all proteins of a set share."""

    def __init__(self, dim: int, seed: int) -> None:
        generator = np.random.default_rng(derive(SYNTHETIC, seed, 0))
        self.centres = generator.normal(0, 0.8, (len(LABELS), RANK))
        self.linear = generator.normal(0, 1, (RANK, dim))
        self.bend = generator.normal(0, 1, (RANK, 2 * RANK))
        self.nonlinear = generator.normal(0, 1, (2 * RANK, dim))
        self.spread = np.exp(generator.normal(np.log(0.034), 0.17, dim))
        self.mean = generator.normal(0, 0.1, dim)
        places = generator.permutation(dim)[: len(OUTLIERS)]
        for place, (mean, spread) in zip(places, OUTLIERS, strict=False):
            self.mean[place], self.spread[place] = mean, spread
        # A large sample tells the parts' means and spreads, by which they are brought to their shares.
        self.offsets, self.scales = (np.zeros(dim), np.zeros(dim)), (np.ones(dim), np.ones(dim))
        sample = self._parts(generator.normal(0, 1, (4096, RANK)), np.arange(4096) % len(LABELS))
        self.offsets = (sample[0].mean(0), sample[1].mean(0))
        self.scales = (sample[0].std(0), sample[1].std(0))

    def draw(self, rows: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Features (rows, D) float32 and the classes (rows)."""
        classes = generator.integers(0, len(LABELS), rows)
        linear, nonlinear = self._parts(generator.normal(0, 1, (rows, RANK)), classes)
        noise = generator.normal(0, 1, linear.shape)
        unit = sum(np.sqrt(share) * part for share, part in zip(SHARES, (linear, nonlinear, noise), strict=True))
        return (self.mean + self.spread * unit).astype(np.float32), classes

    def _parts(self, factors: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The linear and the nonlinear part (rows, D), each with mean 0 and spread 1."""
        factors = factors + self.centres[classes]
        linear = factors @ self.linear
        nonlinear = np.tanh(factors @ self.bend / np.sqrt(RANK)) ** 2 @ self.nonlinear
        return (linear - self.offsets[0]) / self.scales[0], (nonlinear - self.offsets[1]) / self.scales[1]
