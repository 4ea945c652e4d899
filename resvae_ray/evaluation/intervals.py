"""Differences between two representations, with intervals: a paired bootstrap over the rows that both are judged on.

A sample counts each row 0, 1, 2, … times, the same for both sides. So what is hard about a row cancels, and the
interval is that of the difference, not of two figures that vary together (Efron & Tibshirani 1993, chapter 16). It
shows how far the difference would move on other rows; the model and the probes stay as they are.
"""

from dataclasses import dataclass

import numpy as np

from resvae_ray.seeds import BOOTSTRAP, derive

SAMPLES = 2000
COVERED = 0.95  # share of the samples inside the interval
GROUPS = 4096  # at most; up to this many rows, each row is sampled by itself
FEWEST_ROWS = 10  # below, an interval would say more about luck than about the rows
BETTER, WORSE, EQUAL = "better", "worse", "not distinguishable"


@dataclass(frozen=True)
class Difference:
    """A figure of one representation minus that of another, on the same rows.

    Attributes:
        representation, against: which two.
        measure: which figure; larger is better for all of them.
        value: the difference on the rows themselves.
        low, high: of the 95 % interval; None for fewer than FEWEST_ROWS rows.
        verdict: "better" or "worse" if the interval excludes 0, otherwise "not distinguishable".
    """

    representation: str
    against: str
    measure: str
    value: float
    low: float | None
    high: float | None
    verdict: str


class Samples:
    """Bootstrap samples of n rows.

    Args:
        rows: n.
        seed: of the samples.

    Attributes:
        weights: how often each row counts (SAMPLES, n); in the row before the first (index 0) each counts once.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = rows
        random = np.random.default_rng(derive(BOOTSTRAP, seed))
        drawn = random.multinomial(rows, np.full(rows, 1 / rows), SAMPLES)
        self.weights = np.concatenate([np.ones((1, rows), np.float32), drawn.astype(np.float32)])

    def means(self, values: np.ndarray) -> np.ndarray:
        """The mean of `values` (n), of the rows themselves and in each sample (1 + SAMPLES)."""
        return self.weights @ values / self.rows

    def difference(
        self, representation: str, against: str, measure: str, ours: np.ndarray, theirs: np.ndarray
    ) -> Difference:
        """
        Args:
            ours, theirs: the figure on the rows themselves and in each sample (1 + SAMPLES).
        """
        return difference(representation, against, measure, ours - theirs, self.rows)


def difference(representation: str, against: str, measure: str, values: np.ndarray, rows: int) -> Difference:
    """The difference whose value on the rows themselves, then in each sample, is `values` (1 + SAMPLES)."""
    value, drawn = float(values[0]), values[1:]
    if rows < FEWEST_ROWS:
        return Difference(representation, against, measure, value, None, None, EQUAL)
    low, high = (float(edge) for edge in np.quantile(drawn, [(1 - COVERED) / 2, (1 + COVERED) / 2]))
    return Difference(representation, against, measure, value, low, high, _verdict(low, high))


def _verdict(low: float, high: float) -> str:
    return BETTER if low > 0 else WORSE if high < 0 else EQUAL


class GroupedSums:
    """Sums of a value per row, over at most GROUPS groups of rows, so that memory does not grow with the rows.

    Row number i is in group i modulo GROUPS; up to GROUPS rows, a group is a row.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sums, self._counts = np.zeros(GROUPS), np.zeros(GROUPS)

    def add(self, values: np.ndarray) -> None:
        """Takes in the values (n) of the next rows."""
        groups = (self.rows + np.arange(len(values))) % GROUPS
        self._sums += np.bincount(groups, values, GROUPS)
        self._counts += np.bincount(groups, minlength=GROUPS)
        self.rows += len(values)

    def means(self, seed: int) -> np.ndarray:
        """The mean over all rows, then over each bootstrap sample of the groups (1 + SAMPLES)."""
        filled = min(self.rows, GROUPS)
        weights = Samples(filled, seed).weights
        return (weights @ self._sums[:filled]) / (weights @ self._counts[:filled])
