"""Explained variance of a model on the validation rows, and of PCA of the same width fitted on the training rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from resvae_ray.data.features import Features
from resvae_ray.data.moments import Covariance
from resvae_ray.data.stream import StreamedRows
from resvae_ray.errors import DataError, JobError
from resvae_ray.evaluation.intervals import Difference, GroupedSums, difference
from resvae_ray.evaluation.pca import PCA
from resvae_ray.evaluation.representations import LATENTS, SCORES
from resvae_ray.model.loss import squared_error
from resvae_ray.model.network import ResVAE
from resvae_ray.model.validation import BLOCK_ROWS, active_latents
from resvae_ray.names import R2
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
class PrefixFit:
    """The first latents beside as many principal components, on the validation rows.

    Attributes:
        difference: of their R², model minus PCA; None where the rows do not vary.
    """

    model: Fit
    pca: Fit
    difference: Difference | None


@dataclass(frozen=True)
class Reconstruction(PrefixFit):
    """The model, from the posterior mean, beside PCA; of the validation rows, where nothing else is said.

    Attributes:
        model: the Res-VAE.
        train: the Res-VAE on the training rows; what it keeps more of those it knows by heart.
        active_units: latents whose posterior mean varies over the validation rows, see `active_latents`.
        pca: as many components as latents, or all there are.
        pca_active: as many components as active units.
        pca_equal: the fewest components whose error is not above the model's; None if no number of them is.
    """

    train: Fit
    active_units: int
    pca_active: Fit
    pca_equal: int | None


def fit_pca(features: Features, progress: Progress) -> PCA:
    """PCA of all rows of FEATURES."""
    rows = Covariance(features.dim)
    for x in _blocks(features):
        rows.add(x.numpy())
        progress(rows.rows, features.rows)
    return PCA.fit(rows)


def reconstruction(
    model: ResVAE,
    pca: PCA,
    train: Features,
    val: Features,
    progress: Progress,
    latents: Sequence[int] = (),
    seed: int = 0,
) -> tuple[Reconstruction, list[PrefixFit]]:
    """Compares the model with PCA: all latents, and the first ones, for each number in `latents`.

    Args:
        seed: of the samples behind the intervals.

    Raises:
        JobError: a reconstruction by the model is not finite.
    """
    known = _rebuilt(model, pca, train, [model.z_dim], progress)
    found = _rebuilt(model, pca, val, [model.z_dim, *latents], progress)
    by_width = pca.errors(found.rows)
    equal = np.flatnonzero(by_width <= found.errors[0])
    whole, *prefixes = (
        PrefixFit(
            _fit(width, found.errors[place], found.rows),
            _pca_fit(by_width, width, found.rows),
            _difference(found.leads[place], found.rows, seed),
        )
        for place, width in enumerate([model.z_dim, *latents])
    )
    return Reconstruction(
        **vars(whole),
        train=_fit(model.z_dim, known.errors[0], known.rows),
        active_units=found.active_units,
        pca_active=_pca_fit(by_width, found.active_units, found.rows),
        pca_equal=int(equal[0]) if len(equal) else None,
    ), prefixes


@dataclass(frozen=True)
class _Rebuilt:
    """
    Attributes:
        rows: of the FEATURES.
        errors: summed squared error of the model's reconstructions, by number of latents kept.
        leads: PCA's squared error of each row minus the model's, likewise.
    """

    rows: Covariance
    errors: np.ndarray
    leads: list[GroupedSums]
    active_units: int


def _rebuilt(model: ResVAE, pca: PCA, features: Features, widths: Sequence[int], progress: Progress) -> _Rebuilt:
    rows, means, noise = Covariance(features.dim), Covariance(model.z_dim), np.zeros(model.z_dim)
    total, leads = np.zeros(len(widths)), [GroupedSums() for _ in widths]
    device = next(model.parameters()).device
    for block in _blocks(features):
        x = block.to(device)
        with torch.inference_mode():
            mu, logvar = model.encode(x)
            errors = np.stack([_errors(model, mu, width, x) for width in widths], 1)
        if not np.isfinite(errors).all():
            row = rows.rows + int(np.flatnonzero(~np.isfinite(errors).all(1))[0]) + 1
            raise JobError(f"{features.path}: row {row}: the model's reconstruction is not finite; it is of no use")
        total += errors.sum(0)
        for lead, values in zip(leads, (pca.row_errors(block.numpy(), widths) - errors).T, strict=True):
            lead.add(values)
        rows.add(block.numpy())
        means.add(mu.cpu().numpy())
        noise += logvar.exp().sum(0, dtype=torch.float64).cpu().numpy()
        progress(rows.rows, features.rows)
    active = active_latents(means.squares / rows.rows, noise / rows.rows)
    return _Rebuilt(rows, total, leads, int(active.sum()))


def _errors(model: ResVAE, mu: torch.Tensor, latents: int, x: torch.Tensor) -> np.ndarray:
    """Squared error (n) of the reconstruction of `x` (n, D) from the first latents of `mu` (n, Z)."""
    return squared_error(model.decode(mu[:, :latents]), x).double().cpu().numpy()


def _difference(lead: GroupedSums, rows: Covariance, seed: int) -> Difference | None:
    spread = float(rows.squares.sum()) / rows.rows
    return difference(LATENTS, SCORES, R2, lead.means(seed) / spread, rows.rows) if spread > 0 else None


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
    """Explained variance of several models at their posterior means, and of PCA of every width.

    Raises:
        DataError: the rows do not vary.
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
    return Fit(width, float(error / rows.rows), float(1 - error / spread) if spread > 0 else None)
