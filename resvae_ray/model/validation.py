"""The validation loss on the paper's scale, and what else the validation rows tell about a model.

The paper sums, over batches of 32 rows, batch loss times rows in the batch, and divides by all rows. Its loss of one
batch is a sum (or mean) over the batch, so the figure is about 32 times a protein's loss. In eval mode rows do not
depend on each other: they go through the network in large blocks, and the batches of 32 are put together afterwards.

The paper draws the latents anew at every validation. Here the noise comes from a fixed seed, the same for all epochs,
trials and runs: a loss depends on the weights alone, and an exported model gives its recorded loss again.
"""

from dataclasses import dataclass

import numpy as np
import torch

from resvae_ray.config import PAPER_BATCH, PAPER_METRIC, Metric
from resvae_ray.data.stream import Rows
from resvae_ray.model.loss import divergence, squared_error
from resvae_ray.model.network import ResVAE
from resvae_ray.seeds import VALIDATION, derive

BLOCK_ROWS = 1024  # rows that go through the network at a time; a multiple of PAPER_BATCH
ACTIVE_RATIO = 0.01  # Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), section 5.1; see `active_latents`


@dataclass(frozen=True)
class Validation:
    """Metrics on the validation rows; errors and KLD are means per protein, at sampled latents."""

    loss: float
    reconstruction: float
    kld: float
    r2: float
    active_units: int
    worst_loss: float
    worst_row: int
    paper_loss: float  # the loss with the paper's metric, whatever the metric


@torch.no_grad()
def validate(model: ResVAE, rows: Rows, metric: Metric) -> Validation:
    """Evaluates `model` on the validation rows; its mode is left as it was.

    A loss that is not finite is returned as it is.
    """
    training = model.training
    model.eval()
    try:
        errors, klds, spread, active = _walk(model, rows)
    finally:
        model.train(training)
    losses = metric.beta * errors + klds
    worst = int(np.argmax(np.where(np.isnan(losses), np.inf, losses)))
    return Validation(
        loss=paper_loss(errors, klds, rows.dim, model.z_dim, metric),
        reconstruction=float(errors.mean()),
        kld=float(klds.mean()),
        r2=float(1 - errors.sum() / spread) if spread > 0 else float("nan"),
        active_units=int(active.sum()),
        worst_loss=float(losses[worst]),
        worst_row=worst,
        paper_loss=paper_loss(errors, klds, rows.dim, model.z_dim, PAPER_METRIC),
    )


def paper_loss(errors: np.ndarray, klds: np.ndarray, dim: int, z_dim: int, metric: Metric) -> float:
    """The paper's validation loss from the squared error and KLD (n) of each row."""
    starts = np.arange(0, len(errors), PAPER_BATCH)
    counts = np.diff(starts, append=len(errors))
    reconstruction, kld = np.add.reduceat(errors, starts), np.add.reduceat(klds, starts)
    if metric.reduction == "mean":
        reconstruction, kld = reconstruction / (counts * dim), kld / (counts * z_dim)
    if metric.loss_type == "RMSE":
        reconstruction = np.sqrt(reconstruction)
    return float(((metric.beta * reconstruction + kld) * counts).sum() / len(errors))


def active_latents(mean_variance: np.ndarray, posterior_variance: np.ndarray) -> np.ndarray:
    """Which latents (Z, bool) tell rows apart: their mean varies by more than 1 % of the posterior's own variance.

    Burda et al. compare the variance of the mean with 0.01, which assumes that an idle latent has the prior's
    variance 1. The ratio is the same there, and does not change if a latent and its decoder weights are rescaled.

    Args:
        mean_variance: of the posterior mean over the rows (Z).
        posterior_variance: mean over the rows (Z).
    """
    return mean_variance > ACTIVE_RATIO * posterior_variance


def validation_noise(block: int, rows: int, z_dim: int) -> torch.Tensor:
    """The noise (rows, Z) of a block, always the same."""
    generator = torch.Generator().manual_seed(derive(VALIDATION, block))
    return torch.randn(rows, z_dim, generator=generator)


def _walk(model: ResVAE, rows: Rows) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Squared error (n) and KLD (n) of each row, the rows' total spread, which latents are active (Z)."""
    # Made beforehand: small tensors kept of each block would lie between the large ones of the next, and the heap, with
    # no hole left that is large enough, would grow as if all rows were held.
    weight = next(model.parameters())
    errors, klds = (torch.empty(rows.rows, device=weight.device, dtype=weight.dtype) for _ in range(2))
    x_sums, mu_sums = _Moments(), _Moments()
    posterior = torch.zeros(model.z_dim, device=weight.device, dtype=torch.float64)
    done = 0
    for block, x in enumerate(rows.in_order(BLOCK_ROWS)):
        noise = validation_noise(block, len(x), model.z_dim).to(x.device)
        reconstruction, mu, logvar = model(x, noise)
        errors[done : done + len(x)] = squared_error(reconstruction, x)
        klds[done : done + len(x)] = divergence(mu, logvar)
        done += len(x)
        x_sums.add(x)
        mu_sums.add(mu)
        posterior += logvar.exp().sum(0, dtype=torch.float64)
    as_numpy = [losses.double().cpu().numpy() for losses in (errors, klds)]
    active = active_latents(mu_sums.spread() / x_sums.rows, posterior.cpu().numpy() / x_sums.rows)
    return as_numpy[0], as_numpy[1], x_sums.spread().sum(), active


class _Moments:
    """Sum of squared deviations from the mean a column, gathered in blocks (Chan, Golub & LeVeque 1983).

    `data/moments.py` gathers the same in NumPy. Here it stays on the device of the rows and squares in their precision:
    in NumPy each block would leave the GPU, and the last digits of R² would differ from those of earlier versions.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._mean: torch.Tensor | None = None
        self._spread: torch.Tensor | None = None

    def add(self, x: torch.Tensor) -> None:
        """Takes in a block (B, columns)."""
        mean, count = x.mean(0, dtype=torch.float64), len(x)
        spread = (x - mean.to(x.dtype)).pow(2).sum(0, dtype=torch.float64)
        if self._mean is None or self._spread is None:
            self._mean, self._spread = mean, spread
        else:
            delta, total = mean - self._mean, self.rows + count
            self._spread = self._spread + spread + delta.pow(2) * (self.rows * count / total)
            self._mean = self._mean + delta * (count / total)
        self.rows += count

    def spread(self) -> np.ndarray:
        return np.zeros(1) if self._spread is None else self._spread.cpu().numpy()
