"""Does a model earn its place? Its latents, as they are and along their axes, beside PCA and the raw features.

    print(evaluate_model("model", "dataset").text())

PCA is fitted on the training rows and judged, like the model, on the validation rows. Nothing is drawn but the folds
and, where there are too many rows, those that the probes and the trustworthiness get; equal seeds give equal figures.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from resvae_ray import names
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.stream import StreamedRows
from resvae_ray.errors import DataError, UsageError
from resvae_ray.evaluation.pca import PCA
from resvae_ray.evaluation.probe import FOLDS, NEIGHBOURS, choose_rows, draw, label_codes, probe, trust
from resvae_ray.evaluation.reconstruction import fit_pca, reconstruction
from resvae_ray.evaluation.results import AXES, LATENTS, RAW, SCORES, Evaluation, LabelScores, Trust
from resvae_ray.extras import require
from resvae_ray.files.place import AnyPath, place
from resvae_ray.model.axes import Axes, fit_axes
from resvae_ray.model.network import ResVAE
from resvae_ray.model.pretrained import read_model_config
from resvae_ray.model.validation import BLOCK_ROWS
from resvae_ray.progress import Progress, silent

AMOUNTS = (AXES, SCORES)  # whose columns are amounts of the features, see `probe`
MAX_ROWS = 4000  # that the probes and the trustworthiness get: these look at every pair of rows
PACKAGES = ("resvae-ray", "torch", "numpy", "scikit-learn")


def evaluate_model(
    model: AnyPath,
    dataset: AnyPath,
    *,
    seed: int = 0,
    max_rows: int = MAX_ROWS,
    progress: Progress = silent,
) -> Evaluation:
    """Compares a MODEL with PCA and the raw features.

    Args:
        seed: of the folds and of the rows drawn.
        max_rows: rows that the probes, and as many that the trustworthiness gets; PCA and R² always take all rows.
        progress: told the rows of a side that PCA or the model has seen.

    Raises:
        DataError: no MODEL, no DATASET, or features of another width than the model's.
        UsageError: a seed or number of rows that cannot be meant, or scikit-learn is not installed.
        JobError: the model's output is not finite.
    """
    require("insight", "sklearn")
    _check(seed, max_rows)
    folder = place(model)
    config, data = read_model_config(folder), Dataset.open(dataset)
    if data.dim != config["input_dim"]:
        raise DataError(f"{dataset}: vectors of {data.dim} numbers, but the model {model} takes {config['input_dim']}")
    network = ResVAE.from_pretrained(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    train, val = data.features(names.TRAIN), data.features(names.VAL)
    pca = fit_pca(train, progress)
    rebuilt = reconstruction(network, pca, train, val, progress)
    maps = _Maps(network, fit_axes(network, data), pca, rebuilt.pca.width)
    labels, no_labels = _label_scores(train, val, maps, max_rows, seed)
    return Evaluation(
        dim=data.dim,
        z_dim=network.z_dim,
        fingerprint=data.fingerprint,
        trained_on=_trained_on(config, data),
        train_rows=data.train_rows,
        val_rows=data.val_rows,
        reconstruction=rebuilt,
        trust=_trust(val, maps, max_rows, seed),
        labels=labels,
        no_labels=no_labels,
        seed=seed,
        versions={package: version(package) for package in PACKAGES},
    )


class _Maps:
    """Features (n, D) to each representation.

    Args:
        width: of the PCA.
    """

    def __init__(self, model: ResVAE, axes: Axes, pca: PCA, width: int) -> None:
        self._model, self._axes, self._pca, self._width = model, axes, pca, width

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        device = next(self._model.parameters()).device
        with torch.inference_mode():
            blocks = torch.from_numpy(x).split(BLOCK_ROWS)
            z = torch.cat([self._model.encode(block.to(device))[0].cpu() for block in blocks])
        along = self._axes.scores(z.double().numpy())
        return {LATENTS: z.numpy(), AXES: along, SCORES: self._pca.scores(x, self._width), RAW: x}


def _check(seed: int, max_rows: int) -> None:
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: it must be from 0 to {2**32 - 1}")
    if max_rows < 2 * FOLDS:
        raise UsageError(f"--max-rows {max_rows}: it must be at least {2 * FOLDS}, two classes of {FOLDS} rows")


def _trained_on(config: dict[str, Any], data: Dataset) -> bool | None:
    features = config.get("features")
    known = features.get("fingerprint") if isinstance(features, dict) else None
    return None if known is None else known == data.fingerprint


def _trust(val: Features, maps: _Maps, max_rows: int, seed: int) -> Trust:
    x = _rows_at([val], draw(val.rows, max_rows, seed))
    represented = maps(x)
    scores = {name: trust(x, represented[name]) for name in (LATENTS, AXES, SCORES)}
    return Trust(len(x), val.rows, NEIGHBOURS, scores)


def _label_scores(
    train: Features, val: Features, maps: _Maps, max_rows: int, seed: int
) -> tuple[LabelScores | None, str]:
    """The scores, or why there are none."""
    if val.layout.label is None:
        return None, "the DATASET has no labels"
    known: dict[str, int] = {}
    chosen = choose_rows(label_codes(train, known), label_codes(val, known), max_rows, seed)
    if chosen.classes < 2:
        return None, f"of {len(known):,} labels, fewer than two stand on {FOLDS} rows or more; nothing to tell apart"
    sides = {names.TRAIN: train, names.VAL: val}
    represented = maps(_rows_at([sides[side] for side in chosen.sides], chosen.positions))
    return LabelScores(
        sides=chosen.sides,
        reason=chosen.reason,
        rows=len(chosen.codes),
        of=chosen.of,
        classes=chosen.classes,
        unlabelled=chosen.unlabelled,
        dropped_classes=chosen.dropped_classes,
        dropped_rows=chosen.dropped_rows,
        folds=FOLDS,
        neighbours=NEIGHBOURS,
        scores={name: probe(x, chosen.codes, seed, name in AMOUNTS) for name, x in represented.items()},
    ), ""


def _rows_at(sides: Sequence[Features], positions: np.ndarray) -> np.ndarray:
    """The features (n, D) at `positions`, ascending, among the rows of all `sides`."""
    found, start = [], 0
    for features in sides:
        for block in StreamedRows(features, "cpu", BLOCK_ROWS).in_order(BLOCK_ROWS):
            first, stop = np.searchsorted(positions, [start, start + len(block)])
            found.append(block.numpy()[positions[first:stop] - start])
            start += len(block)
    return np.concatenate(found)
