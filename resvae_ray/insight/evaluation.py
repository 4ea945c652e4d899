"""What `evaluate` finds: plain data, for tables, JSON and the model card."""

from dataclasses import asdict, dataclass
from typing import Any

from resvae_ray.insight.probe import ProbeScores
from resvae_ray.insight.reconstruction import Reconstruction

# The representations: posterior means, these along their axes, PCA of the same width, the features.
LATENTS, AXES, SCORES, RAW = "z", "axes", "pca", "raw"


@dataclass(frozen=True)
class Trust:
    """Trustworthiness of maps of the features; None where the rows are too few.

    Attributes:
        rows: validation rows it is computed on, drawn from `of`.
        neighbours: that are looked at.
        scores: by representation (z, axes, pca).
    """

    rows: int
    of: int
    neighbours: int
    scores: dict[str, float | None]


@dataclass(frozen=True)
class LabelScores:
    """What the representations tell of the labels.

    Attributes:
        sides: of the DATASET that the probed rows come from.
        reason: why these.
        rows: probed, in `classes` classes, of `of` rows with a label; `unlabelled` have none.
        dropped_classes, dropped_rows: classes with fewer than `folds` rows, left out.
        folds: of the cross-validation, stratified; the same for all representations.
        neighbours: of `knn_agreement`.
        scores: by representation (z, axes, pca, raw).
    """

    sides: tuple[str, ...]
    reason: str
    rows: int
    of: int
    classes: int
    unlabelled: int
    dropped_classes: int
    dropped_rows: int
    folds: int
    neighbours: int
    scores: dict[str, ProbeScores]


@dataclass(frozen=True)
class Evaluation:
    """A model beside PCA and the raw features.

    Attributes:
        dim, z_dim: D and Z.
        fingerprint: of the DATASET.
        trained_on: whether the model was trained on this DATASET's training rows; None if nothing is recorded.
        train_rows, val_rows: of the DATASET.
        reconstruction: of the validation rows.
        trust: of z, its axes and PCA as maps of the validation rows.
        labels: None if there is nothing to probe.
        no_labels: why there is not.
        seed: of the folds and the rows drawn.
        versions: of the packages that computed it.
    """

    dim: int
    z_dim: int
    fingerprint: str
    trained_on: bool | None
    train_rows: int
    val_rows: int
    reconstruction: Reconstruction
    trust: Trust
    labels: LabelScores | None
    no_labels: str
    seed: int
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it, with the verdicts in words."""
        from resvae_ray.insight.text import verdicts

        return {**asdict(self), "verdicts": verdicts(self)}

    def text(self) -> str:
        """Tables and verdicts for people."""
        from resvae_ray.insight.text import evaluation_text

        return evaluation_text(self)
