"""The result of `evaluate`: plain data, its verdicts in words, and tables for a terminal and as Markdown."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from resvae_ray.evaluation.probe import ProbeScores
from resvae_ray.evaluation.reconstruction import Fit, Reconstruction
from resvae_ray.names import VAL
from resvae_ray.wording import count

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
        from resvae_ray.evaluation.results import verdicts

        return {**asdict(self), "verdicts": verdicts(self)}

    def text(self) -> str:
        """Tables and verdicts for people."""
        from resvae_ray.evaluation.results import evaluation_text

        return evaluation_text(self)


TITLES = {LATENTS: "Res-VAE z", AXES: "z along its axes", SCORES: "PCA", RAW: "raw features"}
NONE = "–"


@dataclass(frozen=True)
class Table:
    """Cells as text, with what they are about."""

    title: str
    rows: list[list[str]]  # the header first
    notes: list[str]  # sentences: what it was computed on, and what follows


def evaluation_text(evaluation: Evaluation) -> str:
    """For a terminal."""
    parts = [f"{evaluation.dim} features to {evaluation.z_dim} latents, {_active(evaluation)}"]
    for table in tables(evaluation):
        parts.append("\n".join(["", table.title, *_aligned(table.rows), *table.notes]))
    return "\n".join(parts)


def evaluation_markdown(evaluation: Evaluation) -> str:
    """For the model card."""
    parts = [f"{evaluation.dim} features to {evaluation.z_dim} latents, {_active(evaluation)}."]
    for table in tables(evaluation):
        cells = [f"| {' | '.join(row)} |" for row in table.rows]
        if cells:
            cells.insert(1, f"|---|{'---:|' * (len(table.rows[0]) - 1)}")
        parts += [f"### {table.title}", "\n".join(cells), *table.notes]
    return "\n\n".join(part for part in parts if part)


def tables(evaluation: Evaluation) -> list[Table]:
    """Reconstruction, neighbourhoods, labels."""
    return [_reconstruction(evaluation), _neighbourhoods(evaluation), _labels(evaluation)]


def verdicts(evaluation: Evaluation) -> list[str]:
    """Who wins, one plain sentence each."""
    found = [_r2_verdict(evaluation)]
    if evaluation.labels is not None:
        found += [_probe_verdict(evaluation.labels, other) for other in (SCORES, RAW)]
    return found


def _active(evaluation: Evaluation) -> str:
    return f"{evaluation.reconstruction.active_units} of them active"


def _reconstruction(evaluation: Evaluation) -> Table:
    found = evaluation.reconstruction
    rows = [["", "width", "R²", "squared error a protein"], _fit_row("Res-VAE, posterior mean", found.model)]
    rows.append(_fit_row("PCA, same width", found.pca))
    if found.pca_active.width != found.pca.width:
        rows.append(_fit_row("PCA, width of the active units", found.pca_active))
    rows.append(_fit_row("Res-VAE, on the training rows", found.train))
    notes = [_r2_verdict(evaluation), *_equal(found.pca_equal), *_gap(found), *_trained_on(evaluation.trained_on)]
    if found.pca.width < evaluation.z_dim:
        notes.append(f"The training rows and features give {found.pca.width} components, fewer than latents.")
    title = (
        f"Reconstruction of {evaluation.val_rows:,} validation rows; PCA fitted on {evaluation.train_rows:,} "
        "training rows"
    )
    return Table(title, rows, notes)


def _fit_row(name: str, fit: Fit) -> list[str]:
    return [name, str(fit.width), NONE if fit.r2 is None else f"{fit.r2:.4f}", f"{fit.squared_error:.6g}"]


def _r2_verdict(evaluation: Evaluation) -> str:
    found = evaluation.reconstruction
    if found.model.r2 is None or found.pca.r2 is None:
        return "The validation rows do not vary: there is no variance to explain."
    shares = [f"{100 * fit.r2:.1f} %" for fit in (found.pca, found.model) if fit.r2 is not None]
    winner = "neither wins" if shares[0] == shares[1] else _winner(found.model.r2 - found.pca.r2, "PCA")
    width = count(found.pca.width, "component")
    return (
        f"PCA of {width} explains {shares[0]} of the variance of the validation rows; this model {shares[1]}: {winner}."
    )


def _winner(lead: float, other: str) -> str:
    return "this model wins" if lead > 0 else f"{other} wins" if not other.endswith("s") else f"the {other} win"


def _equal(components: int | None) -> list[str]:
    if components is None:
        return ["No number of components reaches this model's error."]
    return [f"PCA needs {count(components, 'component')} for this model's error."]


def _gap(found: Reconstruction) -> list[str]:
    if found.model.r2 is None or found.train.r2 is None:
        return []
    points = 100 * (found.train.r2 - found.model.r2)
    return [f"Of the training rows the model explains {100 * found.train.r2:.1f} %: a gap of {points:+.1f} points."]


def _trained_on(trained_on: bool | None) -> list[str]:
    if trained_on is None:
        return ["The model does not say what it was trained on: these rows may be among its training rows."]
    if not trained_on:
        return ["The model was trained on another DATASET: these rows may be among its training rows."]
    return []


def _neighbourhoods(evaluation: Evaluation) -> Table:
    found = evaluation.trust
    columns = [LATENTS, AXES, SCORES]
    rows = [["", *(TITLES[name] for name in columns)]]
    scores = [found.scores[name] for name in columns]
    rows.append(["trustworthiness", *(NONE if score is None else f"{score:.4f}" for score in scores)])
    title = f"Neighbourhoods: {_drawn(found.rows, found.of, 'validation rows', evaluation.seed)}"
    note = f"Trustworthiness among the {found.neighbours} nearest rows: 1 where all were near among the features too."
    if None in scores:
        note = f"Too few rows for a trustworthiness among {found.neighbours} neighbours."
    return Table(title, rows, [note, "Along its axes, z is turned and scaled to what it explains: `encode --axes`."])


def _drawn(rows: int, of: int, what: str, seed: int) -> str:
    return f"{rows:,} {what}" if rows == of else f"{rows:,} of {of:,} {what}, drawn with seed {seed}"


def _labels(evaluation: Evaluation) -> Table:
    found = evaluation.labels
    if found is None:
        return Table("Labels", [], [f"Not probed: {evaluation.no_labels}."])
    scores = [found.scores[name] for name in TITLES]
    lines = [
        [f"MCC, linear probe, {found.folds} folds", *(f"{s.mcc:.3f} ± {s.mcc_sd:.3f}" for s in scores)],
        ["balanced accuracy", *(f"{s.balanced_accuracy:.3f} ± {s.balanced_accuracy_sd:.3f}" for s in scores)],
        [f"kNN agreement, k = {found.neighbours}", *(f"{s.knn_agreement:.3f}" for s in scores)],
        ["silhouette", *(f"{s.silhouette:.3f}" for s in scores)],
    ]
    where = "validation rows" if found.sides == (VAL,) else "rows of both sides"
    drawn = _drawn(found.rows + found.dropped_rows, found.of, where, evaluation.seed)
    notes = [f"Rows: {where}, since {found.reason}.", *_left_out(found)]
    notes += [f"The probe of {TITLES[n]} did not converge." for n, s in found.scores.items() if not s.converged]
    notes += verdicts(evaluation)[1:]
    return Table(f"Labels: {found.classes} classes, {drawn}", [["", *TITLES.values()], *lines], notes)


def _left_out(found: LabelScores) -> list[str]:
    notes = []
    if found.dropped_classes:
        notes.append(
            f"Left out: {count(found.dropped_classes, 'class', 'classes')} with fewer than {found.folds} rows, "
            f"{count(found.dropped_rows, 'row')} in all."
        )
    if found.unlabelled:
        notes.append(f"Left out: {count(found.unlabelled, 'row')} without a label.")
    return notes


def _probe_verdict(found: LabelScores, other: str) -> str:
    """By the folds' differences, which are paired: one that is within its standard deviation decides nothing."""
    ours, theirs = found.scores[LATENTS], found.scores[other]
    leads = np.subtract(ours.mcc_folds, theirs.mcc_folds)
    decided = abs(leads.mean()) > leads.std(ddof=1)
    winner = _winner(leads.mean(), TITLES[other]) if decided else "no difference beyond the spread of the folds"
    return f"A linear probe of {TITLES[other]} reaches an MCC of {theirs.mcc:.3f}, of z {ours.mcc:.3f}: {winner}."


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
