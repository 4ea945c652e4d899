"""Proteins as a model sees them: latents and reconstruction errors of a DATASET's rows, or of some of very many."""

from dataclasses import dataclass

import numpy as np
import torch

from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import some_batches
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.model.loss import squared_error
from resvae_ray.model.network import ResVAE
from resvae_ray.model.validation import active_latents
from resvae_ray.names import LABEL
from resvae_ray.seeds import SHOWN_ROWS, derive

MOST_ROWS = 10_000  # of one side that are read; of more, whole row groups are drawn at random


@dataclass(frozen=True)
class Proteins:
    """n proteins of one side of a DATASET, encoded.

    Attributes:
        side: "train" or "val".
        of: how many that side has.
        labels: one a protein, "" where there is none; None where the DATASET has no labels.
        mu, logvar: (n, Z), of the posterior.
        errors: (n) squared error summed over the features, at the posterior mean.
        spreads: (n) squared distance from the mean of these proteins, summed over the features.
    """

    side: str
    of: int
    ids: list[str]
    labels: list[str] | None
    mu: np.ndarray
    logvar: np.ndarray
    errors: np.ndarray
    spreads: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def klds(self) -> np.ndarray:
        """(Z) the divergence of each latent from a standard normal in nats, a mean over the proteins."""
        return 0.5 * (self.mu**2 + np.exp(self.logvar) - 1 - self.logvar).mean(0)

    @property
    def variances(self) -> np.ndarray:
        """(Z) the variance of each latent's posterior mean over the proteins."""
        return self.mu.var(0)

    @property
    def signals(self) -> np.ndarray:
        """(Z) `variances` in units of the posterior's own mean variance; independent of a latent's scale."""
        return self.variances / np.exp(self.logvar).mean(0)

    @property
    def active(self) -> np.ndarray:
        """(Z, bool) the active latents, see `active_latents`."""
        return active_latents(self.variances, np.exp(self.logvar).mean(0))


@torch.no_grad()
def encoded(dataset: Dataset, side: str, model: ResVAE, most: int = MOST_ROWS) -> Proteins:
    """The rows of one side, encoded by a model in eval mode; of more than `most`, about as many drawn at random."""
    features = dataset.features(side)
    ids: list[str] = []
    labels: list[str] = []
    parts = []
    for batch in some_batches(features, most, np.random.default_rng(derive(SHOWN_ROWS, features.rows))):
        x = torch.from_numpy(np.array(batch.features))
        mu, logvar = model.posterior(x)
        parts.append([x, mu, logvar, squared_error(model.decode(mu * model.prior_spread), x)])
        ids += batch.ids.to_pylist()
        labels += _labels(batch)
    x, mu, logvar, errors = (torch.cat(part).double().numpy() for part in zip(*parts, strict=True))
    spreads = ((x - x.mean(0)) ** 2).sum(1)
    has_labels = features.layout.label is not None
    return Proteins(side, features.rows, ids, labels if has_labels else None, mu, logvar, errors, spreads)


def _labels(batch: FeatureBatch) -> list[str]:
    if LABEL not in batch.others.column_names:
        return []
    return ["" if label is None else str(label) for label in batch.others.column(LABEL).to_pylist()]
