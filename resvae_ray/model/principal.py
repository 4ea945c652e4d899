"""Principal components of the training rows: where a linear path begins, and by what `beta = "auto"` is measured.

A Res-VAE with a linear path begins as probabilistic PCA (Tipping & Bishop 1999, J. R. Stat. Soc. B 61): the posterior
means are whitened principal components, their reconstruction is PCA's, the posterior variances are those at which a
linear VAE is optimal, and the network adds 0 to each.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch

from resvae_ray.config import AUTO, AUTO_R2, Metric, TrainingConfig
from resvae_ray.data.moments import HELD_BYTES, LARGEST_MATRIX, Moments, moments_for
from resvae_ray.data.stream import Rows
from resvae_ray.errors import DataError
from resvae_ray.model.network import ResVAE
from resvae_ray.seeds import COMPONENT_ROWS, derive

MOST_ROWS = 100_000  # rows that are used; above that, random blocks of them
BLOCK_ROWS = 1024  # rows of a block
LEAST_BLOCKS = 64  # of which a sample consists
LEAST_VARIANCE = 1e-4  # of a posterior at the start, relative to the prior's


@dataclass(frozen=True)
class Principal:
    """Principal components of rows.

    Attributes:
        rows: how many rows they were computed from.
        mean: (D) of these rows.
        total: variance of a row, summed over its features.
        variances: (R) along the components, the largest first; R is at most min(D, rows - 1).
        directions: (R, D) float32, orthonormal.
    """

    rows: int
    mean: np.ndarray
    total: float
    variances: np.ndarray
    directions: np.ndarray

    def unexplained(self, width: int) -> np.ndarray:
        """(width): the variance that the first 1 … width components leave."""
        variances = np.zeros(width)
        variances[: len(self.variances)] = self.variances[:width]
        return np.maximum(self.total - variances.cumsum(), 0.0)


_known: "WeakKeyDictionary[Rows, Principal]" = WeakKeyDictionary()


def principal_components(rows: Rows) -> Principal:
    """The principal components of the training rows, or of a sample of up to MOST_ROWS; kept for the next caller.

    Raises:
        DataError: all rows are equal, or a file has changed since it was opened.
    """
    if rows not in _known:
        moments = _gathered(rows)
        total = float(moments.variance.sum())
        if not total > 0:
            raise DataError(f"all {rows.rows} training rows are equal; there is nothing to compress")
        variances, directions = moments.principal()
        _known[rows] = Principal(moments.rows, moments.mean, total, variances, directions.astype(np.float32))
    return _known[rows]


def _gathered(rows: Rows) -> Moments:
    most = MOST_ROWS
    if rows.dim > LARGEST_MATRIX:  # a matrix of inner products of rows instead of one of features
        most = min(LARGEST_MATRIX, HELD_BYTES // (4 * rows.dim))
    moments = moments_for(min(rows.rows, most), rows.dim)
    if rows.rows <= most:
        blocks = rows.in_order(BLOCK_ROWS)
    else:
        # Not the first shuffled rows: these differ between rows in memory and streamed ones, and the losses of one
        # search must have one metric, also if a trial streams its rows because memory ran out.
        size = max(1, min(BLOCK_ROWS, most // LEAST_BLOCKS))
        drawn = np.random.default_rng(derive(COMPONENT_ROWS, rows.rows)).choice(
            -(-rows.rows // size), most // size, replace=False
        )
        blocks = rows.blocks(size, np.sort(drawn).tolist())
    for x in blocks:
        moments.add(x.cpu().numpy())
    return moments


def metric_for(config: TrainingConfig, train: Rows) -> Metric:
    """The loss by which models of `config` are compared; the same for all configurations of one set of training rows.

    With `beta = "auto"` its beta is the one at which a model that explains AUTO_R2 of the training rows' variance is
    optimal (beta = 1 / (2 variance of the error per feature)), rounded to three digits. It depends on no model.
    """
    if config.beta != AUTO:
        return config.metric
    beta = train.dim / (2 * (1 - AUTO_R2) * principal_components(train).total)
    return Metric(float(f"{beta:.3g}"), config.loss_type, config.reduction)


@torch.no_grad()
def start_as_pca(model: ResVAE, principal: Principal) -> None:
    """Gives a network with a linear path the weights with which it is PCA; see the module.

    Latents beyond the rows' rank begin at the prior.
    """
    scaling, path_in, path_out = model.scaling, model.path_in, model.path_out
    if scaling is None or path_in is None or path_out is None:
        raise ValueError("the network has no linear path")
    scale = np.sqrt(principal.total / model.input_dim)
    found = min(len(principal.variances), model.z_dim)
    variances, directions = principal.variances[:found], torch.from_numpy(principal.directions[:found])
    spreads = np.full(model.z_dim, np.sqrt(variances[-1]) / scale)
    spreads[:found] = np.sqrt(variances) / scale
    rest = max(min(model.input_dim, principal.rows - 1) - model.z_dim, 1)
    noise = principal.unexplained(model.z_dim)[-1] / rest
    logvar = np.zeros(model.z_dim)
    logvar[:found] = np.log(np.clip(noise / variances, LEAST_VARIANCE, 1.0))
    scaling.scale.fill_(scale)
    for constant, value in ((scaling.mean, principal.mean), (scaling.spread, spreads), (scaling.logvar, logvar)):
        constant.copy_(torch.from_numpy(value))
    path = (path_in.weight, path_out.weight)
    for parameter in (*path, *model.fc21.parameters(), *model.fc22.parameters(), *model.fc4.parameters()):
        parameter.zero_()
    along = torch.from_numpy(spreads[:found]).float()[:, None]
    path_in.weight[:found] = (directions / along).to(path_in.weight.device)
    path_out.weight[:, :found] = (directions * along).T.to(path_out.weight.device)
