"""Compares a model's latents and decoded features with PCA and the raw features.

    print(evaluate_model("model", "dataset").text())

PCA and the probes learn from the training rows and are judged, like the model, on the validation rows. The seed decides
the folds, the bootstrap samples and, above `max_rows`, the rows for probes and trustworthiness.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from resvae_ray import names
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.stream import StreamedRows
from resvae_ray.errors import DataError, UsageError
from resvae_ray.evaluation.intervals import Samples
from resvae_ray.evaluation.label_scores import LabelScores, label_scores
from resvae_ray.evaluation.labelled_rows import FEWEST, TRUST, ProbedRows, choose_rows, draw, label_codes
from resvae_ray.evaluation.neighbours import NEIGHBOURS, Neighbourhoods
from resvae_ray.evaluation.reconstruction import fit_pca, reconstruction
from resvae_ray.evaluation.representations import RAW, SCORES, Representations, pairs_of
from resvae_ray.evaluation.results import TRUSTWORTHINESS, Evaluation, Prefix, Trust
from resvae_ray.extras import require
from resvae_ray.files.place import AnyPath, place
from resvae_ray.model.axes import fit_axes
from resvae_ray.model.network import ResVAE
from resvae_ray.model.pretrained import read_model_config
from resvae_ray.model.validation import BLOCK_ROWS
from resvae_ray.progress import Progress, silent

MAX_ROWS = 4000  # of each side that the probes get, and that the trustworthiness gets, which looks at all pairs
FEWEST_MAX_ROWS = 2 * FEWEST
PACKAGES = ("resvae-ray", "torch", "numpy", "scikit-learn")


def evaluate_model(
    model: AnyPath,
    dataset: AnyPath,
    *,
    latents: Sequence[int] = (),
    seed: int = 0,
    max_rows: int = MAX_ROWS,
    progress: Progress = silent,
) -> Evaluation:
    """Compares a MODEL with PCA and the raw features.

    Args:
        latents: also judge the first 2, 8, … latents, each beside PCA of that width; for a model with nested latents.
        seed: of the folds, of the rows drawn and of the samples behind the intervals.
        max_rows: training rows that the probes learn from, and as many validation rows that they and the
            trustworthiness are judged on; PCA and R² always take all rows.
        progress: called with the number of rows of a side that PCA or the model has read.

    Raises:
        DataError: no MODEL, no DATASET, or features of another width than the model's.
        UsageError: a seed or number of rows or latents that cannot be meant, or scikit-learn is not installed.
        JobError: the model's output is not finite.
    """
    require("insight", "sklearn")
    _check(seed, max_rows)
    folder = place(model)
    config, data = read_model_config(folder), Dataset.open(dataset)
    if data.dim != config["input_dim"]:
        raise DataError(f"{dataset}: vectors of {data.dim} numbers, but the model {model} takes {config['input_dim']}")
    widths = _prefixes(model, config, latents)
    network = ResVAE.from_pretrained(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    train, val = data.features(names.TRAIN), data.features(names.VAL)
    pca = fit_pca(train, progress)
    whole, fits = reconstruction(network, pca, train, val, progress, widths, seed)
    made = Representations(network, fit_axes(network, data), pca)
    trusted = _Trusted(val, max_rows, seed)
    probed, no_labels = _probed_rows(train, val, max_rows, seed)
    labelled = _Labelled(train, val, probed, seed) if probed else None
    return Evaluation(
        dim=data.dim,
        z_dim=network.z_dim,
        fingerprint=data.fingerprint,
        trained_on=_trained_on(config, data),
        train_rows=data.train_rows,
        val_rows=data.val_rows,
        reconstruction=whole,
        trust=trusted.judge(made.of),
        labels=labelled and labelled.judge(made.of),
        no_labels=no_labels,
        prefixes=[
            Prefix(
                latents=width,
                reconstruction=fit,
                trust=trusted.judge(lambda x, first=width: made.of_first(x, first)),
                labels=labelled and labelled.judge(lambda x, first=width: made.of_first(x, first)),
            )
            for width, fit in zip(widths, fits, strict=True)
        ],
        seed=seed,
        versions={package: version(package) for package in PACKAGES},
    )


def _check(seed: int, max_rows: int) -> None:
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: it must be from 0 to {2**32 - 1}")
    if max_rows < FEWEST_MAX_ROWS:
        raise UsageError(f"--max-rows {max_rows}: it must be at least {FEWEST_MAX_ROWS}, two classes of {FEWEST} rows")


def _prefixes(model: AnyPath, config: dict[str, Any], latents: Sequence[int]) -> list[int]:
    """Numbers of latents to judge, ascending."""
    wrong = [number for number in latents if not 1 <= number <= config["z_dim"]]
    if wrong:
        raise UsageError(f"--latents {wrong[0]}: {model} has {config['z_dim']} latents; give 1 to {config['z_dim']}")
    if latents and not config.get("nested"):
        raise UsageError(
            f"--latents: the latents of {model} are not nested, so the first ones alone are not a code; leave it out, "
            "or train with [training] nested above 0"
        )
    return sorted(set(latents))


def _trained_on(config: dict[str, Any], data: Dataset) -> bool | None:
    features = config.get("features")
    known = features.get("fingerprint") if isinstance(features, dict) else None
    return None if known is None else known == data.fingerprint


Maps = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # features (n, D) to representations, each (n, width)


class _Trusted:
    """Trustworthiness on validation rows; what does not depend on the representation is computed once."""

    def __init__(self, val: Features, max_rows: int, seed: int) -> None:
        self._of, self._seed = val.rows, seed
        self._x = _rows_at(val, draw(val.rows, max_rows, seed, TRUST))
        self._neighbourhoods, self._samples = Neighbourhoods(self._x), Samples(len(self._x), seed)

    def judge(self, maps: Maps) -> Trust:
        """Scores of the representations that `maps` gives, except for the features themselves."""
        rows = {name: self._neighbourhoods.trust(x) for name, x in maps(self._x).items() if name != RAW}
        sampled = {name: self._samples.means(values) for name, values in rows.items() if values is not None}
        return Trust(
            rows=len(self._x),
            of=self._of,
            neighbours=NEIGHBOURS,
            scores={name: float(sampled[name][0]) if name in sampled else None for name in rows},
            differences=[
                self._samples.difference(ours, theirs, TRUSTWORTHINESS, sampled[ours], sampled[theirs])
                for ours, theirs in pairs_of(sampled)
                if theirs == SCORES
            ],
        )


class _Labelled:
    """Labels read off the rows that are probed."""

    def __init__(self, train: Features, val: Features, rows: ProbedRows, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._fit, self._test = _rows_at(train, rows.fit.positions), _rows_at(val, rows.test.positions)

    def judge(self, maps: Maps) -> LabelScores:
        """By the representations that `maps` gives."""
        return label_scores(maps(self._fit), maps(self._test), self._rows, self._seed)


def _probed_rows(train: Features, val: Features, max_rows: int, seed: int) -> tuple[ProbedRows | None, str]:
    """The rows, or why there are none."""
    if val.layout.label is None:
        return None, "the DATASET has no labels"
    known: dict[str, int] = {}
    rows = choose_rows(label_codes(train, known), label_codes(val, known), max_rows, seed)
    if rows.classes < 2:
        return None, (
            f"of {len(known):,} labels, fewer than two stand on {FEWEST} training rows or more and on a validation "
            "row; nothing to tell apart"
        )
    return rows, ""


def _rows_at(features: Features, positions: np.ndarray) -> np.ndarray:
    """The features (n, D) at `positions`, ascending."""
    found, start = [], 0
    for block in StreamedRows(features, "cpu", BLOCK_ROWS).in_order(BLOCK_ROWS):
        first, stop = np.searchsorted(positions, [start, start + len(block)])
        found.append(block.numpy()[positions[first:stop] - start])
        start += len(block)
    return np.concatenate(found)
