"""Scores per row for preserved neighbourhoods; distances are Euclidean, on unscaled columns."""

import numpy as np

NEIGHBOURS = 5


class Neighbourhoods:
    """Distance ranks of n rows to each other among the features.

    Args:
        x: the features (n, D); n² small integers are held.
    """

    def __init__(self, x: np.ndarray) -> None:
        from sklearn.metrics import pairwise_distances

        distances = pairwise_distances(x.astype(np.float64))
        np.fill_diagonal(distances, np.inf)
        rows = len(x)
        self._ranks = np.empty((rows, rows), np.int32)  # 1 for the nearest other row
        np.put_along_axis(self._ranks, distances.argsort(1), np.arange(1, rows + 1, dtype=np.int32)[None], 1)

    def trust(self, z: np.ndarray) -> np.ndarray | None:
        """Trustworthiness of `z` (n, width) row by row (n), to be averaged; None for too few rows.

        Below 1 where rows are near in `z` that are not among the NEIGHBOURS nearest in the features (Venna & Kaski
        2001).
        """
        from sklearn.neighbors import NearestNeighbors

        rows = len(self._ranks)
        if rows <= 2 * NEIGHBOURS:
            return None
        near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(z.astype(np.float64)).kneighbors(return_distance=False)
        excess = np.maximum(np.take_along_axis(self._ranks, near, 1) - NEIGHBOURS, 0).sum(1)
        return 1 - excess * 2 / (NEIGHBOURS * (2 * rows - 3 * NEIGHBOURS - 1))


def agreement(known: np.ndarray, known_codes: np.ndarray, x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The share of the NEIGHBOURS nearest known rows that have a row's class (n).

    Args:
        known, known_codes: representation (m, width) and classes (m) of the rows among which neighbours are looked for.
        x, codes: those of the rows that are judged (n, width), (n).
    """
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(known.astype(np.float64))
    found = near.kneighbors(x.astype(np.float64), return_distance=False)
    return (known_codes[found] == codes[:, None]).mean(1)
