"""Means, spreads and the covariance's eigenvalues of features, gathered in one pass over any number of rows.

Each batch is centred by its own mean, and what the means differ by is added when it joins the others (Chan, Golub &
LeVeque 1983, "Algorithms for computing the sample variance"): however large the means are beside the spreads, and in
whatever order the rows come, nothing cancels.
"""

import numpy as np

LARGEST_MATRIX = 8192  # rows and columns of a matrix of float64 that is taken apart: 512 MiB, minutes on a few cores
HELD_BYTES = 2 << 30  # of rows of float32 held for their inner products
BLOCK_FEATURES = 1024  # of them taken as float64 at a time


class Moments:
    """Gathers batches (n, D) in float64, in memory of a few rows; the components stay unknown."""

    def __init__(self, dim: int) -> None:
        self.rows = 0
        self.mean = np.zeros(dim)
        self.low = np.full(dim, np.inf, dtype=np.float32)
        self.high = np.full(dim, -np.inf, dtype=np.float32)
        self._squares = np.zeros(dim)

    def add(self, batch: np.ndarray) -> None:
        """Takes in the rows (n, D) of float32."""
        if not len(batch):
            return
        mean = batch.mean(0, dtype=np.float64)
        rows = self.rows + len(batch)
        step = mean - self.mean
        self._join(batch, batch - mean, step, self.rows * len(batch) / rows)
        self.mean += step * (len(batch) / rows)
        self.rows = rows
        np.minimum(self.low, batch.min(0), out=self.low)
        np.maximum(self.high, batch.max(0), out=self.high)

    def _join(self, batch: np.ndarray, centred: np.ndarray, step: np.ndarray, weight: float) -> None:
        """Takes in the rows and how they differ from their mean, which is `step` (D) from that of the rows before."""
        self._squares += np.einsum("nd,nd->d", centred, centred) + weight * step**2

    @property
    def variance(self) -> np.ndarray:
        """Of each feature (D), over all rows (divided by their number)."""
        return self._squares / self.rows

    def eigenvalues(self) -> np.ndarray | None:
        """Of the covariance, the largest first, all that are not 0: the variances along the principal components."""
        return None


class Covariance(Moments):
    """The same, with the components, in memory of two D x D matrices of float64."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._scatter = np.zeros((dim, dim))
        self._product = np.empty((dim, dim))

    def _join(self, batch: np.ndarray, centred: np.ndarray, step: np.ndarray, weight: float) -> None:
        super()._join(batch, centred, step, weight)
        self._scatter += np.matmul(centred.T, centred, out=self._product)
        self._scatter += np.multiply.outer(step, step * weight, out=self._product)

    def eigenvalues(self) -> np.ndarray:
        """See `Moments`; D of them."""
        return np.linalg.eigvalsh(self._scatter / self.rows)[::-1].clip(0)


class Gram(Moments):
    """The same of at most `rows` rows, which it holds: their n x n inner products have the covariance's eigenvalues."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__(dim)
        self._held = np.empty((rows, dim), np.float32)

    def _join(self, batch: np.ndarray, centred: np.ndarray, step: np.ndarray, weight: float) -> None:
        super()._join(batch, centred, step, weight)
        self._held[self.rows : self.rows + len(batch)] = batch

    def eigenvalues(self) -> np.ndarray:
        """See `Moments`; n of them."""
        products = np.zeros((self.rows, self.rows))
        for start in range(0, len(self.mean), BLOCK_FEATURES):
            block = slice(start, start + BLOCK_FEATURES)
            centred = self._held[: self.rows, block] - self.mean[block]
            products += centred @ centred.T
        return np.linalg.eigvalsh(products / self.rows)[::-1].clip(0)


def moments_for(rows: int, dim: int) -> Moments:
    """What takes in at most `rows` rows of `dim` numbers: with the components, where they can be had."""
    if rows < dim and rows <= LARGEST_MATRIX and 4 * rows * dim <= HELD_BYTES:
        return Gram(rows, dim)
    return Covariance(dim) if dim <= LARGEST_MATRIX else Moments(dim)
