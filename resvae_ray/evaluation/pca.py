"""PCA of the training rows, exact, in memory that does not depend on how many rows there are.

The D x D products are summed in blocks. The unexplained variance of other rows, for every number of
components, follows from *their* products, so neither side is read twice or held in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resvae_ray.data.moments import Covariance


@dataclass(frozen=True)
class PCA:
    """Principal components of some rows.

    Attributes:
        mean: (D).
        components: (R, D), orthonormal, the one of largest variance first; R is the most that the rows can give.
    """

    mean: np.ndarray
    components: np.ndarray

    @classmethod
    def fit(cls, rows: Covariance) -> "PCA":
        """The components of the rows that `rows` has seen: min(D, rows - 1) of them."""
        rank = min(len(rows.mean), rows.rows - 1)
        vectors = np.linalg.eigh(rows.products).eigenvectors
        return cls(rows.mean, vectors.T[::-1][:rank].copy())

    def scores(self, x: np.ndarray, width: int) -> np.ndarray:
        """(n, D) to the scores of the first `width` components (n, width)."""
        return (x - self.mean) @ self.components[:width].T

    def rebuilt(self, scores: np.ndarray) -> np.ndarray:
        """Scores of the first components (n, width) to the reconstruction (n, D)."""
        return self.mean + scores @ self.components[: scores.shape[1]]

    def row_errors(self, x: np.ndarray, widths: Sequence[int]) -> np.ndarray:
        """(n, D) to the squared error of each row's reconstruction from each number of components (n, len(widths))."""
        off = x - self.mean
        explained = ((off @ self.components[: max(widths)].T) ** 2).cumsum(1)
        explained = np.concatenate([np.zeros((len(x), 1)), explained], 1)
        used = np.minimum(widths, len(self.components))
        return np.maximum((off**2).sum(1)[:, None] - explained[:, used], 0.0)

    def errors(self, rows: Covariance) -> np.ndarray:
        """Squared error of the reconstruction, summed over the rows of `rows`, by 0 … R components (R + 1)."""
        shift = rows.mean - self.mean
        products = rows.products + rows.rows * np.outer(shift, shift)
        explained = np.einsum("kd,kd->k", self.components @ products, self.components)
        return np.maximum(products.trace() - np.concatenate([[0.0], explained.cumsum()]), 0.0)
