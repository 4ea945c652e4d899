"""PCA of the training rows, exact, in memory that does not depend on how many rows there are.

The D x D products are summed in blocks. What every number of components leaves unexplained of other rows follows from
*their* products, so that neither side is read twice or held.
"""

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

    def errors(self, rows: Covariance) -> np.ndarray:
        """Squared error of the reconstruction, summed over the rows of `rows`, by 0 … R components (R + 1)."""
        shift = rows.mean - self.mean
        products = rows.products + rows.rows * np.outer(shift, shift)
        explained = np.einsum("kd,kd->k", self.components @ products, self.components)
        return np.maximum(products.trace() - np.concatenate([[0.0], explained.cumsum()]), 0.0)
