"""Nested latents: in training, some rows keep only their first k latents, so that every prefix learns to be a code.

k is drawn for each row (nested dropout, Rippel, Gelbart & Adams 2014), log-uniform from 1 to Z: the first latents need
it most. The error of a row with few latents is large and would drown that of the others, so it counts less: by the
square root of what PCA of all Z widths leaves, relative to PCA of k.
"""

import math

import numpy as np
import torch

from resvae_ray.model.principal import Principal

LEAST_UNEXPLAINED = 1e-3  # of the variance, that PCA of any width is taken to leave


class NestedLatents:
    """Draws the number of latents that each row keeps, and the weights of their errors.

    Args:
        fraction: probability that a row keeps only some latents.
        z_dim: Z.
        principal: the components of the training rows.
        device: of the rows.
    """

    def __init__(self, fraction: float, z_dim: int, principal: Principal, device: torch.device) -> None:
        self._fraction, self._z_dim = fraction, z_dim
        unexplained = np.maximum(principal.unexplained(z_dim), LEAST_UNEXPLAINED * principal.total)
        self._weights = torch.from_numpy(np.sqrt(unexplained[-1] / unexplained)).float().to(device)
        self._positions = torch.arange(z_dim, device=device)

    def draw(self, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """For B rows: which latents each keeps, 1 or 0, (B, Z), and the weight of each row's error (B)."""
        draws = torch.rand(2, rows, device=self._positions.device)
        some = torch.exp(draws[0] * math.log(self._z_dim + 1)).long().clamp(1, self._z_dim)
        widths = torch.where(draws[1] < self._fraction, some, self._z_dim)
        return (self._positions < widths[:, None]).float(), self._weights[widths - 1]
