"""How much of the validation rows a model keeps, beside PCA of the same width fitted on the training rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from resvae_ray.data.features import Features
from resvae_ray.data.moments import Covariance
from resvae_ray.data.stream import StreamedRows
from resvae_ray.errors import DataError, JobError
from resvae_ray.evaluation.pca import PCA
from resvae_ray.model.loss import squared_error
from resvae_ray.model.network import ResVAE
from resvae_ray.model.validation import ACTIVE_VARIANCE, BLOCK_ROWS
from resvae_ray.progress import Progress


@dataclass(frozen=True)
class Fit:
    """A reconstruction of some rows.

    Attributes:
        width: numbers a protein that it is made from.
        squared_error: a protein, summed over its features.
        r2: explained variance, about the mean of these rows; None where they do not vary.
    """

    width: int
    squared_error: float
    r2: float | None


@dataclass(frozen=True)
class Reconstruction:
    """The model, from the posterior mean, beside PCA; of the validation rows, where nothing else is said.

    Attributes:
        model: the Res-VAE.
        train: the Res-VAE on the training rows; what it keeps more of those it knows by heart.
        active_units: latents whose posterior mean varies over the validation rows (variance above 0.01).
        pca: as many components as latents, or all there are.
        pca_active: as many components as active units.
        pca_equal: the fewest components whose error is not above the model's; None if no number of them is.
    """

    model: Fit
    train: Fit
    active_units: int
    pca: Fit
    pca_active: Fit
    pca_equal: int | None


def fit_pca(features: Features, progress: Progress) -> PCA:
    """PCA of all rows of FEATURES."""
    rows = Covariance(features.dim)
    for x in _blocks(features):
        rows.add(x.numpy())
        progress(rows.rows, features.rows)
    return PCA.fit(rows)


def reconstruction(model: ResVAE, pca: PCA, train: Features, val: Features, progress: Progress) -> Reconstruction:
    """Compares them.

    Raises:
        JobError: a reconstruction by the model is not finite.
    """
    known, known_error, _ = _rebuilt(model, train, progress)
    rows, error, means = _rebuilt(model, val, progress)
    active = int((means.variance > ACTIVE_VARIANCE).sum())
    by_width = pca.errors(rows)
    equal = np.flatnonzero(by_width <= error)
    return Reconstruction(
        model=_fit(model.z_dim, error, rows),
        train=_fit(model.z_dim, known_error, known),
        active_units=active,
        pca=_pca_fit(by_width, model.z_dim, rows),
        pca_active=_pca_fit(by_width, active, rows),
        pca_equal=int(equal[0]) if len(equal) else None,
    )


def _rebuilt(model: ResVAE, features: Features, progress: Progress) -> tuple[Covariance, float, Covariance]:
    """The rows of FEATURES, the summed squared error of their reconstructions, and their posterior means."""
    rows, means, error = Covariance(features.dim), Covariance(model.z_dim), 0.0
    device = next(model.parameters()).device
    for x in _blocks(features):
        with torch.inference_mode():
            mu = model.encode(x.to(device))[0]
            errors = squared_error(model.decode(mu), x.to(device)).double().cpu().numpy()
        if not np.isfinite(errors).all():
            row = rows.rows + int(np.flatnonzero(~np.isfinite(errors))[0]) + 1
            raise JobError(f"{features.path}: row {row}: the model's reconstruction is not finite; it is of no use")
        error += float(errors.sum())
        rows.add(x.numpy())
        means.add((mu / model.prior_spread).cpu().numpy())
        progress(rows.rows, features.rows)
    return rows, error, means


@dataclass(frozen=True)
class Rates:
    """R² of the validation rows.

    Attributes:
        models: by model (n).
        pca: by number of components, from 0 (R + 1).
    """

    models: np.ndarray
    pca: np.ndarray


def rates(models: Sequence[ResVAE], pca: PCA, features: Features) -> Rates:
    """What several models keep of the rows of FEATURES at their posterior means, beside PCA of every width.

    Raises:
        DataError: the rows do not vary, so that there is nothing to keep.
    """
    rows, errors = Covariance(features.dim), np.zeros(len(models))
    for x in _blocks(features):
        rows.add(x.numpy())
        with torch.inference_mode():
            errors += [float(squared_error(model.decode(model.encode(x)[0]), x).sum()) for model in models]
    spread = float(rows.squares.sum())
    if spread == 0:
        raise DataError(f"{features.path}: all rows are alike")
    return Rates(1 - errors / spread, 1 - pca.errors(rows) / spread)


def _blocks(features: Features) -> Iterator[torch.Tensor]:
    return StreamedRows(features, "cpu", BLOCK_ROWS).in_order(BLOCK_ROWS)


def _pca_fit(by_width: np.ndarray, width: int, rows: Covariance) -> Fit:
    width = min(width, len(by_width) - 1)
    return _fit(width, float(by_width[width]), rows)


def _fit(width: int, error: float, rows: Covariance) -> Fit:
    spread = float(rows.squares.sum())
    return Fit(width, error / rows.rows, 1 - error / spread if spread > 0 else None)
