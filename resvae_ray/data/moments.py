"""Means, variances and principal components of rows, gathered in one pass over any number of them.

`Moments` keeps a number per feature, `Covariance` a D x D matrix, `Gram` the rows themselves where there are fewer rows
than features, and `CrossCovariance` a matrix between two sets of columns of the same rows. `RoundedCovariance` costs
half as much as `Covariance`, for figures that are printed.

Each batch is centred by its own mean, and what the means differ by is added when it joins the others (Chan, Golub &
LeVeque 1983, "Algorithms for computing the sample variance"): however large the means are beside the spreads, and in
whatever order the rows come, nothing cancels.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from resvae_ray.errors import DataError

LEAST_SHARE = 1e-6  # of the largest variance; a principal component with less is rounding
LARGEST_MATRIX = 8192  # rows and columns of a matrix of float64 that is taken apart: 512 MiB, minutes on a few cores
HELD_BYTES = 2 << 30  # of rows of float32 held for their inner products
BLOCK_FEATURES = 1024  # of them taken as float64 at a time
CACHED_ROWS = 256  # taken as float64 at a time, where they are only passed on


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
        self._join(batch, mean, step, self.rows * len(batch) / rows)
        self.mean += step * (len(batch) / rows)
        self.rows = rows
        np.minimum(self.low, batch.min(0), out=self.low)
        np.maximum(self.high, batch.max(0), out=self.high)

    def _join(self, batch: np.ndarray, mean: np.ndarray, step: np.ndarray, weight: float) -> None:
        """Takes in the rows; their mean (D) is `step` (D) from that of the rows before."""
        self._add_squares(batch - mean, step, weight)

    def join(self, other: "Moments") -> None:
        """Takes in all rows that another one of the same kind has gathered."""
        if not other.rows:
            return
        step, rows = other.mean - self.mean, self.rows + other.rows
        self._join_rows(other, step, self.rows * other.rows / rows)
        self.mean += step * (other.rows / rows)
        self.rows = rows
        np.minimum(self.low, other.low, out=self.low)
        np.maximum(self.high, other.high, out=self.high)

    def _join_rows(self, other: Any, step: np.ndarray, weight: float) -> None:
        self._squares += other._squares + weight * step**2

    def _add_squares(self, centred: np.ndarray, step: np.ndarray, weight: float) -> None:
        self._squares += np.einsum("nd,nd->d", centred, centred) + weight * step**2

    @property
    def variance(self) -> np.ndarray:
        """Variance of each feature (D) over all rows, divided by their number."""
        return self._squares / self.rows

    @property
    def squares(self) -> np.ndarray:
        """Squared deviations from the mean, summed over the rows, of each feature (D)."""
        return self._squares

    def eigenvalues(self) -> np.ndarray | None:
        """Non-zero eigenvalues of the covariance, largest first: the variances along the principal components."""
        return None

    def principal(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances (R), the largest first, and orthonormal directions (R, D) of the principal components.

        Components whose variance is rounding are left out, see LEAST_SHARE.

        Raises:
            DataError: the rows are too wide for a matrix of their features, see `moments_for`.
        """
        raise DataError(f"{len(self.mean):,} features: too many for principal components")


class Covariance(Moments):
    """The same, with the components, in memory of two D x D matrices of float64.

    Attributes:
        products: (D, D) of the deviations from the mean, summed over the rows.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.products = np.zeros((dim, dim))
        self._product = np.empty((dim, dim))

    def _join(self, batch: np.ndarray, mean: np.ndarray, step: np.ndarray, weight: float) -> None:
        centred = batch - mean
        self._add_squares(centred, step, weight)
        self.products += np.matmul(centred.T, centred, out=self._product)
        self.products += np.multiply.outer(step, step * weight, out=self._product)

    def _join_rows(self, other: Any, step: np.ndarray, weight: float) -> None:
        super()._join_rows(other, step, weight)
        self.products += other.products
        self.products += np.multiply.outer(step, step * weight, out=self._product)

    def eigenvalues(self) -> np.ndarray:
        """See `Moments`; D of them."""
        return np.linalg.eigvalsh(self.products / self.rows)[::-1].clip(0)

    def principal(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Moments`."""
        variances, vectors = np.linalg.eigh(self.products / self.rows)
        return _without_rounding(variances[::-1], vectors.T[::-1], self.rows)


class RoundedCovariance(Covariance):
    """The same, with the products of a batch in float32: they take half the time, and variances stay in float64.

    A product is rounded by some 1e-7 of the standard deviations of its two features, so a few features with a large
    variance do not hide the components of the others.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._rounded = np.empty((dim, dim), np.float32)

    def _join(self, batch: np.ndarray, mean: np.ndarray, step: np.ndarray, weight: float) -> None:
        # Scaled by a power of two, which rounds nothing: squares of float32 leave its range where the numbers do not.
        farthest = float(max((batch.max(0) - mean).max(), (mean - batch.min(0)).max()))
        scale = 2.0 ** -round(np.log2(farthest)) if farthest else 1.0
        scaled = np.empty(batch.shape, np.float32)
        self._squares += weight * step**2
        for start in range(0, len(batch), CACHED_ROWS):
            block = slice(start, start + CACHED_ROWS)
            centred = batch[block] - mean
            self._squares += np.einsum("nd,nd->d", centred, centred)
            np.multiply(centred, scale, out=scaled[block], casting="unsafe")
        np.matmul(scaled.T, scaled, out=self._rounded)
        self.products += np.multiply(self._rounded, scale**-2, out=self._product, dtype=np.float64)
        self.products += np.multiply.outer(step, step * weight, out=self._product)


class Gram(Moments):
    """The same of at most `rows` rows, which it holds: their n x n inner products have the covariance's eigenvalues."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__(dim)
        self._held = np.empty((rows, dim), np.float32)

    def _join(self, batch: np.ndarray, mean: np.ndarray, step: np.ndarray, weight: float) -> None:
        super()._join(batch, mean, step, weight)
        self._held[self.rows : self.rows + len(batch)] = batch

    def _join_rows(self, other: Any, step: np.ndarray, weight: float) -> None:
        super()._join_rows(other, step, weight)
        self._held[self.rows : self.rows + other.rows] = other._held[: other.rows]

    def eigenvalues(self) -> np.ndarray:
        """See `Moments`; n of them."""
        return np.linalg.eigvalsh(self._inner_products() / self.rows)[::-1].clip(0)

    def principal(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Moments`."""
        variances, rows = np.linalg.eigh(self._inner_products() / self.rows)
        variances, rows = _without_rounding(variances[::-1], rows.T[::-1], self.rows)
        directions = np.empty((len(variances), len(self.mean)))
        for block, centred in self._blocks():
            directions[:, block] = rows @ centred
        return variances, directions / np.sqrt(variances * self.rows)[:, None]

    def _inner_products(self) -> np.ndarray:
        """(n, n)."""
        products = np.zeros((self.rows, self.rows))
        for _, centred in self._blocks():
            products += centred @ centred.T
        return products

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Some features of all rows in float64, less their means: which, and (n, features)."""
        for start in range(0, len(self.mean), BLOCK_FEATURES):
            block = slice(start, start + BLOCK_FEATURES)
            yield block, self._held[: self.rows, block] - self.mean[block]


class CrossCovariance:
    """Gathers rows (n, Z) and (n, W) that belong together in float64, in memory of a Z x W matrix.

    Attributes:
        mean: (Z) of the first.
    """

    def __init__(self, z_dim: int, width: int) -> None:
        self.rows = 0
        self.mean, self._other_mean = np.zeros(z_dim), np.zeros(width)
        self._products = np.zeros((z_dim, width))

    def add(self, z: np.ndarray, x: np.ndarray) -> None:
        """Takes in at least one row of each."""
        z_mean, x_mean = z.mean(0, dtype=np.float64), x.mean(0, dtype=np.float64)
        rows = self.rows + len(z)
        z_step, x_step = z_mean - self.mean, x_mean - self._other_mean
        self._products += (z - z_mean).T @ (x - x_mean) + np.outer(z_step, x_step * (self.rows * len(z) / rows))
        self.mean, self._other_mean = (
            self.mean + z_step * (len(z) / rows),
            self._other_mean + x_step * (len(z) / rows),
        )
        self.rows = rows

    def covariance(self) -> np.ndarray:
        """(Z, W), divided by the number of rows."""
        return self._products / self.rows


def _without_rounding(variances: np.ndarray, vectors: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first components (R), (R, …) of `rows` rows that are not rounding, out of all, the largest first."""
    kept = min(rows - 1, int((variances > LEAST_SHARE * max(variances[0], 0.0)).sum()))
    return variances[:kept].copy(), vectors[:kept].copy()


def moments_for(rows: int, dim: int, covariance: type[Covariance] = Covariance) -> Moments:
    """Moments for up to `rows` rows of `dim` numbers; with principal components, if they fit in memory.

    Args:
        covariance: the kind for more rows than features.
    """
    if rows < dim and rows <= LARGEST_MATRIX and 4 * rows * dim <= HELD_BYTES:
        return Gram(rows, dim)
    return covariance(dim) if dim <= LARGEST_MATRIX else Moments(dim)
