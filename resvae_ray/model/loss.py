"""The loss of the Res-VAE, `beta * REC + KLD`, as the published class computes it.

REC is the squared error between reconstruction and input, or its root, and KLD the divergence of the posterior from a
standard normal (Kingma & Welling, 2014); both are summed or averaged over the rows of a batch and their features.

`beta = "auto"` takes, for each batch, the beta at which its error is most likely: 1 / (2 error per feature). That is a
decoder with an optimal variance (sigma-VAE, Rybkin, Daniilidis & Levine 2021, arXiv:2006.13202), and it fits features
of any scale.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from resvae_ray.config import AUTO, LOSS_TYPES, REDUCTIONS
from resvae_ray.errors import UsageError

LEAST_ERROR = 1e-30  # of a batch; a smaller one would make its beta infinite


@dataclass(frozen=True)
class LossTerms:
    """The parts of a batch's loss; scalars that carry gradients."""

    reconstruction: torch.Tensor
    kld: torch.Tensor
    beta: float | torch.Tensor

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
    beta: float | str = 1.0,
    loss_type: str = "MSE",
    reduction: str = "sum",
    weights: torch.Tensor | None = None,
    kld_weights: torch.Tensor | None = None,
) -> LossTerms:
    """The loss of one batch: reconstruction and x (B, D), mu and logvar (B, Z).

    Args:
        beta: a number, or "auto", which needs MSE and sum.
        weights: (B), by which the squared error of each row is multiplied; by default 1.
        kld_weights: (B, Z), by which the KLD of each latent is multiplied; by default 1.

    Raises:
        UsageError: (a ValueError) see `check_loss`; or `beta` is "auto" with another loss.
    """
    check_loss(loss_type, reduction)
    if weights is None:
        error = F.mse_loss(reconstruction, x, reduction=reduction)
    else:
        errors = squared_error(reconstruction, x) * weights
        error = errors.sum() if reduction == "sum" else errors.mean() / x.shape[1]
    if loss_type == "RMSE":
        error = torch.sqrt(error)
    divergence = 1 + logvar - mu.pow(2) - logvar.exp()
    if kld_weights is not None:
        divergence = divergence * kld_weights
    if reduction == "sum":
        kld = -0.5 * divergence.sum()
    else:
        kld = -0.5 * (divergence.mean() if kld_weights is None else divergence.sum() / kld_weights.sum())
    if not isinstance(beta, str):
        return LossTerms(error, kld, beta)
    if (beta, loss_type, reduction) != (AUTO, "MSE", "sum"):
        raise UsageError(f"beta {beta!r}, {loss_type}, {reduction}: beta is a number, or {AUTO!r} with MSE and sum")
    return LossTerms(error, kld, x.numel() / (2 * error.detach().clamp_min(LEAST_ERROR)))


def squared_error(reconstruction: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Squared error per row, summed over the features: (B, D) to (B)."""
    return (reconstruction - x).pow(2).sum(1)


def divergence(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """The KLD of each row in nats, summed over its latents: (B, Z) to (B)."""
    return -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1)
