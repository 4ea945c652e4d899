"""The loss of the Res-VAE, `beta * REC + KLD`, as the published class computes it.

REC is the squared error between reconstruction and input, or its root, and KLD the divergence of the posterior from a
standard normal (Kingma & Welling, 2014); both are summed or averaged over the rows of a batch and their features.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from resvae_ray.config import LOSS_TYPES, REDUCTIONS
from resvae_ray.errors import UsageError


@dataclass(frozen=True)
class LossTerms:
    """The parts of a batch's loss; scalars that carry gradients."""

    reconstruction: torch.Tensor
    kld: torch.Tensor
    beta: float

    @property
    def total(self) -> torch.Tensor:
        """The loss."""
        return self.weighted(1.0)

    def weighted(self, kld_weight: float) -> torch.Tensor:
        """The loss with that weight of the KLD."""
        return self.beta * self.reconstruction + kld_weight * self.kld


def check_loss(loss_type: str, reduction: str) -> None:
    """
    Raises:
        UsageError: (a ValueError) the loss type is not MSE or RMSE, or the reduction not sum or mean.
    """
    if reduction not in REDUCTIONS:
        raise UsageError(f"Invalid reduction type. Expected 'mean' or 'sum', but got {reduction}")
    if loss_type not in LOSS_TYPES:
        raise UsageError(f"Invalid loss type: {loss_type}. Expected 'MSE' or 'RMSE'")


def loss_terms(
    reconstruction: torch.Tensor,
    x: torch.Tensor,
    mu: torch.Tensor,
    logvar: torch.Tensor,
    *,
    beta: float = 1.0,
    loss_type: str = "MSE",
    reduction: str = "sum",
) -> LossTerms:
    """The loss of one batch: reconstruction and x (B, D), mu and logvar (B, Z).

    Raises:
        UsageError: (a ValueError) see `check_loss`.
    """
    check_loss(loss_type, reduction)
    error = F.mse_loss(reconstruction, x, reduction=reduction)
    if loss_type == "RMSE":
        error = torch.sqrt(error)
    divergence = 1 + logvar - mu.pow(2) - logvar.exp()
    kld = -0.5 * (divergence.mean() if reduction == "mean" else divergence.sum())
    return LossTerms(error, kld, beta)


def squared_error(reconstruction: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Of each row, summed over its features: (B, D) to (B)."""
    return (reconstruction - x).pow(2).sum(1)


def divergence(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """The KLD of each row in nats, summed over its latents: (B, Z) to (B)."""
    return -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1)
