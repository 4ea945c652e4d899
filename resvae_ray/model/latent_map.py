"""Latents in two dimensions, for the report and protspace bundles: UMAP with the settings of the paper, or PCA."""

import importlib
import warnings

import numpy as np

NEIGHBOURS = 15  # NEIGHBOURS, MIN_DIST and SEED are the method's paper's for UMAP
MIN_DIST = 0.5
SEED = 0


def two_dimensions(mu: np.ndarray) -> tuple[np.ndarray, str]:
    """(n, Z) to (n, 2), and how: by UMAP, or by PCA if UMAP is not installed or there are too few rows for it."""
    if len(mu) <= NEIGHBOURS:
        return pca_map(mu), f"PCA, as UMAP needs more than {NEIGHBOURS} proteins"
    places = umap_map(mu)
    if places is None:
        return pca_map(mu), "PCA, as umap-learn is not installed"
    return places, f"UMAP, {NEIGHBOURS} neighbours, min_dist {MIN_DIST}, random_state {SEED}"


def umap_map(mu: np.ndarray) -> np.ndarray | None:
    """(n, Z) to (n, 2) with more than NEIGHBOURS rows; None if umap-learn is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap, numba and scikit-learn warn about their own internals
        try:
            umap = importlib.import_module("umap")
        except ImportError:
            return None
        reducer = umap.UMAP(random_state=SEED, min_dist=MIN_DIST, n_neighbors=NEIGHBOURS, n_jobs=1)
        return np.asarray(reducer.fit_transform(mu.astype(np.float32)))


def pca_map(mu: np.ndarray) -> np.ndarray:
    """(n, Z) to the first two principal components (n, 2)."""
    centred = mu - mu.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    places = centred @ axes.T
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
