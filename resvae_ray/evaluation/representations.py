"""The representations that are compared: latents, decoded features, PCA of the same width, and the features."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from resvae_ray.evaluation.pca import PCA
from resvae_ray.model.axes import Axes
from resvae_ray.model.network import ResVAE
from resvae_ray.model.validation import BLOCK_ROWS

LATENTS = "z"  # posterior means
AXES = "axes"  # these along their axes, see model/axes.py
DECODED = "decoded"  # their reconstruction of the features
SCORES = "pca"  # PCA of the same width
PCA_DECODED = "pca_decoded"  # its reconstruction of the features: what DECODED is compared with
RAW = "raw"  # the features

TITLES = {
    LATENTS: "Res-VAE z",
    AXES: "z along its axes",
    DECODED: "Res-VAE decoded",
    SCORES: "PCA",
    PCA_DECODED: "PCA decoded",
    RAW: "raw features",
}
PAIRS = (  # of which the difference is judged
    (LATENTS, SCORES),
    (AXES, SCORES),
    (DECODED, SCORES),
    (DECODED, PCA_DECODED),
    (LATENTS, RAW),
    (DECODED, RAW),
)


def pairs_of(names: Iterable[str]) -> list[tuple[str, str]]:
    """Those of PAIRS of which both are among `names`."""
    known = set(names)
    return [pair for pair in PAIRS if known.issuperset(pair)]


class Representations:
    """Features to each representation.

    Args:
        model: in eval mode.
        axes: of its latents.
        pca: of the training rows.
    """

    def __init__(self, model: ResVAE, axes: Axes, pca: PCA) -> None:
        self._model, self._axes, self._pca = model, axes, pca
        self._device = next(model.parameters()).device

    def of(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """All representations of features (n, D), each (n, its width)."""
        found = self.of_first(x, self._model.z_dim)
        along = self._axes.scores(found[LATENTS].astype(np.float64))
        return {name: {AXES: along, RAW: x}.get(name, found.get(name)) for name in TITLES}  # pyright: ignore[reportReturnType]

    def of_first(self, x: np.ndarray, latents: int) -> dict[str, np.ndarray]:
        """The representations that the first `latents` latents give, beside as many principal components."""
        z = self._blocks(x, lambda block: self._model.encode(block)[0][:, :latents])
        scores = self._pca.scores(x, latents)
        return {
            LATENTS: z,
            DECODED: self._blocks(z, self._model.decode),
            SCORES: scores,
            PCA_DECODED: self._pca.rebuilt(scores),
        }

    def _blocks(self, x: np.ndarray, function: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        with torch.inference_mode():
            blocks = torch.from_numpy(x).split(BLOCK_ROWS)
            return torch.cat([function(block.to(self._device)).cpu() for block in blocks]).numpy()
