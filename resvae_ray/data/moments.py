"""Means, spreads and the covariance of features, gathered in one pass over any number of rows."""

import numpy as np


class Moments:
    """Gathers batches (n, D); float64, in memory of two D x D matrices.

    Each batch is centred by its own mean, and what the means differ by is added when it joins the others (Chan, Golub &
    LeVeque 1983, "Algorithms for computing the sample variance"): however large the means are beside the spreads, and
    in whatever order the rows come, nothing cancels.
    """

    def __init__(self, dim: int) -> None:
        self.rows = 0
        self.mean = np.zeros(dim)
        self.low = np.full(dim, np.inf, dtype=np.float32)
        self.high = np.full(dim, -np.inf, dtype=np.float32)
        self._scatter = np.zeros((dim, dim))
        self._product = np.empty((dim, dim))

    def add(self, batch: np.ndarray) -> None:
        """Takes in the rows (n, D) of float32."""
        if not len(batch):
            return
        mean = batch.mean(0, dtype=np.float64)
        centred = batch - mean
        rows = self.rows + len(batch)
        step = mean - self.mean
        self._scatter += np.matmul(centred.T, centred, out=self._product)
        self._scatter += np.multiply.outer(step, step * (self.rows * len(batch) / rows), out=self._product)
        self.mean += step * (len(batch) / rows)
        self.rows = rows
        np.minimum(self.low, batch.min(0), out=self.low)
        np.maximum(self.high, batch.max(0), out=self.high)

    @property
    def variance(self) -> np.ndarray:
        """Of each feature (D), over all rows (divided by their number)."""
        return self._scatter.diagonal() / self.rows

    def eigenvalues(self) -> np.ndarray:
        """Of the covariance (D), the largest first: the variances along the principal components."""
        return np.linalg.eigvalsh(self._scatter / self.rows)[::-1].clip(0)
