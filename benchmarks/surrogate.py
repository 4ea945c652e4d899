"""The learning curve of a configuration that was never trained, estimated from those that were.

The logarithm of the lowest loss so far in the recorded curves (`benchmarks.record_curves`) is decomposed into a few
principal curves, whose amounts Gaussian processes learn as functions of the configuration (Rasmussen & Williams 2006).
A configuration has the curve of the nearest that was recorded, moved by the difference that the processes see between
the two: what they do not explain, jumps above all, stays as it was recorded. Near one that diverged it diverges.
"""

import warnings
from typing import Any

import numpy as np
import pandas as pd

from resvae_ray.config import Config

COMPONENTS = 4  # principal curves; they hold 99.7 % of the variance of 64 curves of the paper's space


class Curves:
    """Learning curves of any configuration of a space.

    Args:
        table: what `benchmarks.record_curves` wrote.
        config: the scenario that it was recorded with.
    """

    def __init__(self, table: pd.DataFrame, config: Config) -> None:
        self._space = config.space
        self._points = np.array([self._place(row) for row in table.to_dict("records")])
        self._logs, self._epoch_s = np.log(np.stack(table["losses"].tolist())), table["epoch_s"].to_numpy()
        self.epochs = self._logs.shape[1]
        whole = np.isfinite(self._logs).all(1)
        lowest = np.minimum.accumulate(self._logs[whole], axis=1)
        self._basis = np.linalg.svd(lowest - lowest.mean(0), full_matrices=False)[2][:COMPONENTS]
        amounts = (lowest - lowest.mean(0)) @ self._basis.T
        self._processes = [_process(self._points[whole], amount) for amount in amounts.T]
        self._smooth = self._expected(self._points)

    def of(self, params: dict[str, Any]) -> tuple[np.ndarray, float]:
        """The loss of every epoch (infinite once diverged), and the seconds of one epoch."""
        place = self._place(params)
        nearest = int(np.linalg.norm(self._points - place, axis=1).argmin())
        moved = self._logs[nearest] + self._expected(place[None])[0] - self._smooth[nearest]
        return np.exp(moved), float(self._epoch_s[nearest])

    def _expected(self, places: np.ndarray) -> np.ndarray:
        """(n, dimensions of the space) to the logarithms of the lowest losses (n, epochs), less their mean."""
        return np.column_stack([process.predict(places) for process in self._processes]) @ self._basis

    def _place(self, params: dict[str, Any]) -> np.ndarray:
        """In the unit cube, of which a choice takes one dimension an alternative."""
        place = []
        for name, domain in self._space.items():
            value = params[name]
            if domain.choices:
                place.extend(float(value == choice) for choice in domain.choices)
                continue
            low, high, value = (float(number) for number in (domain.low or 0, domain.high or 0, value))
            if domain.log:
                low, high, value = np.log([low, high, value])
            place.append((value - low) / (high - low) if high > low else 0.0)
        return np.array(place)


def _process(places: np.ndarray, amounts: np.ndarray) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    lengths: Any = np.ones(places.shape[1])  # one a parameter
    kernel = ConstantKernel() * RBF(lengths, (0.1, 20.0)) + WhiteKernel(0.01, (1e-6, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: a parameter that does not matter
        return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(places, amounts)
