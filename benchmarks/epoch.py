"""The cost of a training epoch beside that of the published code.

    python -m benchmarks.epoch PUBLISHED [--rows 2048] [--rounds 5]

Both train the same network (1280/859/18) from the same weights on the same rows in the same order, batch 32, one
thread, with the same random numbers for dropout and latents. Prints the median CPU seconds of an epoch of each, the
ratio, and how far the losses are apart in three epochs of both in double precision: in single precision the first steps
of this training, which are violent, make different losses of different roundings. Also measures ours with
`matmul = "bfloat16"`. PUBLISHED is a folder with a
`reference.py` whose `load_reference_class` gives the published class; it is not part of this project.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import interleaved, report
from resvae_ray import names
from resvae_ray.config import BFLOAT16, TrainingConfig
from resvae_ray.data.stream import ResidentRows
from resvae_ray.data.synthetic import synthetic_batches
from resvae_ray.model.training import Training
from resvae_ray.seeds import NOISE, WEIGHTS, derive

SEED = 0


class Ours:
    """`Training`, an epoch at a time, without its validation."""

    def __init__(self, config: TrainingConfig, rows: ResidentRows) -> None:
        self._training, self._epoch = Training(config, rows, rows, SEED, rows.matrix.device), 0
        self.losses: list[float] = []

    def __call__(self) -> None:
        """Trains an epoch."""
        self._epoch += 1
        self.losses.append(self._training._train_epoch(self._epoch))


class Published:
    """The loop of the published text: Adam as PyTorch makes it, a loss for every batch."""

    def __init__(self, config: TrainingConfig, rows: ResidentRows, reference: Any) -> None:
        self._rows, self._config, self._epoch = rows, config, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(WEIGHTS, SEED))
            self._model = reference(
                rows.dim, config.hidden_dim, config.z_dim, loss_type=config.loss_type, reduction=config.reduction
            ).to(rows.matrix.device)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=config.lr)
        self.losses: list[float] = []

    def __call__(self) -> None:
        """Trains an epoch."""
        self._epoch += 1
        self._model.train()
        total = 0.0
        torch.manual_seed(derive(NOISE, SEED, self._epoch))
        for batch in self._rows.shuffled(self._config.batch_size, SEED, self._epoch):
            self._optimizer.zero_grad()
            reconstruction, mu, logvar = self._model(batch)
            loss = self._model.loss_function(reconstruction, batch, mu, logvar, beta=self._config.beta)
            loss.backward()
            self._optimizer.step()
            total += loss.item() * len(batch)
        self.losses.append(total / self._rows.rows)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed_folder", type=Path)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sys.path.insert(0, str(options.seed_folder))
    from reference import load_reference_class  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    config = TrainingConfig(z_dim=18, hidden_dim=859, epochs=options.rounds + 1)
    matrix = torch.from_numpy(np.concatenate([batch.features for batch in synthetic_batches(options.rows)]))
    reference = load_reference_class()
    rows = ResidentRows(matrix)
    ours, published = Ours(config, rows), Published(config, rows, reference)
    rounded = Ours(replace(config, matmul=BFLOAT16), rows)
    seconds = interleaved({"published": published, "ours": ours, "ours in bfloat16": rounded}, options.rounds)
    report(
        "epoch",
        rows=options.rows,
        cpu_s=seconds,
        ratio=seconds["published"] / seconds["ours"],
        largest_relative_difference_of_losses=_apart(config, matrix[:512], reference),
        ratio_of_bfloat16=seconds["ours"] / seconds["ours in bfloat16"],
        losses={names.TRAIN_LOSS: ours.losses, "in bfloat16": rounded.losses},
    )


def _apart(config: TrainingConfig, matrix: torch.Tensor, reference: Any) -> float:
    """How far the losses of three epochs in double precision are apart at most, as a fraction."""
    torch.set_default_dtype(torch.float64)
    rows = ResidentRows(matrix.double())
    ours, published = Ours(config, rows), Published(config, rows, reference)
    for _ in range(3):
        ours()
        published()
    torch.set_default_dtype(torch.float32)
    return float(np.abs(np.divide(ours.losses, published.losses) - 1).max())


if __name__ == "__main__":
    main()
