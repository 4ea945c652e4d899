"""Nested latents: in training the decoder also gets only the first k, so that every prefix learns to be a code.

Either some rows of a batch keep only their first k latents (nested dropout, Rippel, Gelbart & Adams 2014), or every row
is decoded several times from one pass of the encoder: from all latents and from some prefixes. k is log-uniform from 1
to Z: the first latents need it most. The error of a row with few latents is large and would drown that of the others,
so it counts less, by a power (of drawn rows, the square root) of what PCA of all Z widths leaves, relative to PCA of k.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from resvae_ray.model.principal import Principal

LEAST_UNEXPLAINED = 1e-3  # of the variance, that PCA of any width is taken to leave
# Of the ratio that errors of prefixes count by: at 0.5 short prefixes gain, at 1, the likelihood, long ones.
POWER = 0.7


class Draw(NamedTuple):
    """What is decoded of B rows, M times.

    Attributes:
        kept: (M B, Z), 1 for latents that are kept and 0 for others.
        error_weights: (M B), by which squared errors count.
        kld_weights: (M B, Z), by which the KLD counts.
    """

    kept: torch.Tensor
    error_weights: torch.Tensor
    kld_weights: torch.Tensor


class NestedLatents:
    """Draws the number of latents that each row keeps, and the weights of their losses.

    Args:
        fraction: probability that a row keeps only some latents; with `prefixes`, their weight beside all latents.
        prefixes: times that a row is decoded from a prefix beside all its latents; 0 for one decoding of each row.
        z_dim: Z.
        principal: the components of the training rows.
        device: of the rows.
    """

    def __init__(self, fraction: float, prefixes: int, z_dim: int, principal: Principal, device: torch.device) -> None:
        self._fraction, self._prefixes, self._z_dim = fraction, prefixes, z_dim
        unexplained = np.maximum(principal.unexplained(z_dim), LEAST_UNEXPLAINED * principal.total)
        ratios = unexplained[-1] / unexplained
        self._weights = torch.from_numpy(ratios**POWER if prefixes else np.sqrt(ratios)).float().to(device)
        self._positions = torch.arange(z_dim, device=device)

    def draw(self, rows: int) -> Draw:
        """For B rows: what each decoding keeps, and how its error and KLD count."""
        if not self._prefixes:
            draws = torch.rand(2, rows, device=self._positions.device)
            widths = torch.where(draws[1] < self._fraction, self._log_uniform(draws[0]), self._z_dim)
            kept = self._kept(widths)
            return Draw(kept, self._weights[widths - 1], kept)
        # One draw from each part of [0, 1): of a row's prefixes one is always short and one long.
        draws = torch.rand(self._prefixes, rows, device=self._positions.device)
        draws = (draws + torch.arange(self._prefixes, device=draws.device)[:, None]) / self._prefixes
        whole = torch.full((1, rows), self._z_dim, device=draws.device)
        widths = torch.cat([whole, self._log_uniform(draws)]).flatten()
        counts = 1 + self._prefixes
        shares = torch.full((counts, rows), self._fraction * counts / self._prefixes, device=draws.device)
        shares[0] = (1 - self._fraction) * counts
        kept, shares = self._kept(widths), shares.flatten()
        return Draw(kept, self._weights[widths - 1] * shares, kept * shares[:, None])

    def _log_uniform(self, draws: torch.Tensor) -> torch.Tensor:
        """Numbers of latents from draws in [0, 1)."""
        return torch.exp(draws * math.log(self._z_dim + 1)).long().clamp(1, self._z_dim)

    def _kept(self, widths: torch.Tensor) -> torch.Tensor:
        return (self._positions < widths[:, None]).float()
