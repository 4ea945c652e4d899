"""Latents turned and scaled to what they explain: amounts of the features, the largest first, as PCA's scores are.

A Res-VAE gives every active latent about the same spread, whether it holds much of the features or little more than
noise, and in a distance between latents each counts as much as any other. Distances along the axes are those of what
the latents explain. This is a redundancy analysis (van den Wollenberg 1977, Psychometrika 42, 207-219): the features
are regressed linearly on the posterior means, and the axes are the principal components of the fitted values.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import some_batches
from resvae_ray.data.moments import Covariance, CrossCovariance
from resvae_ray.errors import DataError, JobError
from resvae_ray.files.place import Place
from resvae_ray.names import TRAIN
from resvae_ray.seeds import AXES_ROWS, derive

MOST_ROWS = 100_000  # that are read; of more, whole row groups are drawn at random
LEAST_SHARE = 1e-6  # of the largest, that a principal variance of the latents has to have: below it is rounding


@dataclass(frozen=True)
class Axes:
    """A linear map of the latents.

    Attributes:
        mean: (Z) of the posterior means.
        turn: (Z, A) from a deviation to scores in units of the features; A is min(Z, D), and the last are 0 where the
            latents have fewer dimensions.
    """

    mean: np.ndarray
    turn: np.ndarray

    def scores(self, z: np.ndarray) -> np.ndarray:
        """(n, Z) to (n, A)."""
        return (z - self.mean) @ self.turn

    def to_json(self) -> dict[str, Any]:
        """To keep them; every digit counts."""
        return {"mean": self.mean.tolist(), "turn": self.turn.tolist()}

    @classmethod
    def from_json(cls, kept: Any, file: Place) -> "Axes":
        """
        Raises:
            DataError: `kept`, which was read from `file`, is nothing that `to_json` gave.
        """
        try:
            mean, turn = (np.array(kept[part], dtype=np.float64) for part in ("mean", "turn"))
        except (KeyError, TypeError, ValueError):
            mean, turn = np.zeros(0), np.zeros(0)
        if (
            mean.ndim != 1
            or turn.ndim != 2
            or len(mean) != len(turn)
            or not np.isfinite(np.vstack([mean, turn.T])).all()
        ):
            raise DataError(f"{file}: damaged; remove it and the latents beside it, and encode again")
        return cls(mean, turn)


def refuse_other_width(dataset: Dataset, input_dim: int) -> None:
    """
    Raises:
        DataError: the vectors have another width than the model's.
    """
    if dataset.dim != input_dim:
        raise DataError(f"{dataset.path}: vectors of {dataset.dim} numbers, but the model takes {input_dim}")


def fit_axes(model: Any, dataset: Dataset, latents: int = 0) -> Axes:
    """The axes of a ResVAE in eval mode, on the training rows of a DATASET, or about MOST_ROWS of them.

    Args:
        latents: only the first so many; 0 takes all.

    Raises:
        DataError: the vectors have another width than the model's.
        JobError: a latent is not finite.
    """
    refuse_other_width(dataset, model.input_dim)
    width = latents or model.z_dim
    among_latents, with_features = Covariance(width), CrossCovariance(width, dataset.dim)
    random = np.random.default_rng(derive(AXES_ROWS, dataset.train_rows))
    for batch in some_batches(dataset.features(TRAIN), MOST_ROWS, random):
        z = _means(model, batch.features)[:, :width]
        if not np.isfinite(z).all():
            raise JobError(f"{dataset.path}: a latent of the model is not finite; it is of no use")
        among_latents.add(z)
        with_features.add(z, batch.features)
    whiten = _inverse_root(among_latents.products / among_latents.rows)
    u, s, vt = np.linalg.svd(whiten.T @ with_features.covariance(), full_matrices=False)
    signs = np.sign(vt[np.arange(len(vt)), np.abs(vt).argmax(1)])  # else they would be any
    turn = np.zeros((width, min(width, dataset.dim)))
    turn[:, : len(s)] = whiten @ (u * s * signs)
    return Axes(among_latents.mean, turn)


def _means(model: Any, features: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        x = torch.tensor(features, device=next(model.parameters()).device)
        return model.encode(x)[0].double().cpu().numpy()


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    """(Z, Z) to (Z, R), by which deviations become uncorrelated and of variance 1; R is the rank."""
    spreads = np.sqrt(covariance.diagonal())
    known = np.flatnonzero(spreads > 0)
    scale = 1 / spreads[known]
    variances, vectors = np.linalg.eigh(covariance[np.ix_(known, known)] * np.outer(scale, scale))
    kept = variances > LEAST_SHARE * variances.max(initial=0.0)
    found = np.zeros((len(covariance), int(kept.sum())))
    found[known] = scale[:, None] * vectors[:, kept] / np.sqrt(variances[kept])
    return found
