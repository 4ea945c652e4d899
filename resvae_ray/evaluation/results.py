"""The result of `evaluate`: plain data, its verdicts in words, and tables for a terminal and as Markdown."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from resvae_ray.evaluation.intervals import EQUAL, FEWEST_ROWS, Difference
from resvae_ray.evaluation.label_scores import AGREEMENT, LINEAR, NONLINEAR, LabelScores, ProbeScore
from resvae_ray.evaluation.labelled_rows import FEWEST
from resvae_ray.evaluation.reconstruction import Fit, PrefixFit, Reconstruction
from resvae_ray.evaluation.representations import LATENTS, SCORES, TITLES
from resvae_ray.wording import count

TRUSTWORTHINESS = "trustworthiness"
MEMORISED = 0.05  # R² of the training rows above that of the validation rows, from which on there is advice


@dataclass(frozen=True)
class Trust:
    """Trustworthiness of maps of the features; None where the rows are too few.

    Attributes:
        rows: validation rows it is computed on, drawn from `of`.
        neighbours: that are looked at.
        scores: by representation (z, axes, decoded, pca, pca_decoded).
        differences: to PCA, with intervals.
    """

    rows: int
    of: int
    neighbours: int
    scores: dict[str, float | None]
    differences: list[Difference]


@dataclass(frozen=True)
class Prefix:
    """The first latents alone, beside PCA of as many components.

    Attributes:
        latents: how many.
        labels: None if there is nothing to probe.
    """

    latents: int
    reconstruction: PrefixFit
    trust: Trust
    labels: LabelScores | None


@dataclass(frozen=True)
class Evaluation:
    """A model beside PCA and the raw features.

    Attributes:
        dim, z_dim: D and Z.
        fingerprint: of the DATASET.
        trained_on: whether the model was trained on this DATASET's training rows; None if nothing is recorded.
        train_rows, val_rows: of the DATASET.
        reconstruction: of the validation rows.
        trust: of the representations as maps of the validation rows.
        labels: None if there is nothing to probe.
        no_labels: why there is not.
        prefixes: the same for the first latents alone, where asked for.
        seed: of the folds, the rows drawn and the intervals.
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
    prefixes: list[Prefix]
    seed: int
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-compatible dict, including the verdicts as text."""
        return {**asdict(self), "verdicts": verdicts(self)}

    def text(self) -> str:
        """Tables and verdicts for people."""
        return evaluation_text(self)


NONE = "–"
MEASURES = {
    LINEAR: "MCC of a linear probe",
    NONLINEAR: "MCC of a non-linear probe",
    AGREEMENT: "agreement of neighbours",
    TRUSTWORTHINESS: "trustworthiness",
}
DIFFERENCE_HEADER = ["difference", "95 % interval", "verdict"]


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
    """Reconstruction, neighbourhoods, labels, and the first latents alone where they were asked for."""
    found = [_reconstruction(evaluation), _neighbourhoods(evaluation), _labels(evaluation)]
    if evaluation.labels is not None:
        found.append(_label_differences(evaluation.labels))
    return found + ([_prefixes(evaluation)] if evaluation.prefixes else [])


def verdicts(evaluation: Evaluation) -> list[str]:
    """One plain sentence per comparison: what is better, worse, or not distinguishable."""
    labels = evaluation.labels
    return [
        _r2_verdict(evaluation),
        *_pair_verdicts(evaluation.trust.differences),
        *(_pair_verdicts(labels.differences) if labels else ()),
    ]


def _active(evaluation: Evaluation) -> str:
    return f"{evaluation.reconstruction.active_units} of them active"


def _reconstruction(evaluation: Evaluation) -> Table:
    found = evaluation.reconstruction
    rows = [["", "width", "R²", "squared error per protein"], _fit_row("Res-VAE, posterior mean", found.model)]
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
    if found.difference is None:
        return "The validation rows do not vary, so explained variance is undefined."
    shares = [f"{100 * fit.r2:.1f} %" for fit in (found.pca, found.model) if fit.r2 is not None]
    width = count(found.pca.width, "component")
    return (
        f"PCA of {width} explains {shares[0]} of the variance of the validation rows; this model {shares[1]}: "
        f"{found.difference.verdict} ({_points(found.difference)})."
    )


def _points(difference: Difference) -> str:
    """A difference of R² in percentage points."""
    if difference.low is None or difference.high is None:
        return f"{100 * difference.value:+.1f} points; {FEWEST_ROWS} rows are needed for an interval"
    found = [100 * value for value in (difference.value, difference.low, difference.high)]
    # A verdict beside numbers that all read 0.0 looks like a mistake.
    decided = difference.verdict != EQUAL
    digits = next((digits for digits in (1, 2, 3) if not decided or all(round(value, digits) for value in found)), 4)
    value, low, high = (f"{value:+.{digits}f}" for value in found)
    return f"{value} points, 95 % interval {low} to {high}"


def _equal(components: int | None) -> list[str]:
    if components is None:
        return ["No number of components reaches this model's error."]
    return [f"PCA needs {count(components, 'component')} for this model's error."]


def _gap(found: Reconstruction) -> list[str]:
    if found.model.r2 is None or found.train.r2 is None:
        return []
    gap = found.train.r2 - found.model.r2
    notes = [f"Of the training rows the model explains {100 * found.train.r2:.1f} %: a gap of {100 * gap:+.1f} points."]
    if gap > MEMORISED:
        notes.append(
            "The model has memorised training rows: train on more rows if there are; below about 1,000, with "
            "batch_size = 32 in [training]."
        )
    return notes


def _trained_on(trained_on: bool | None) -> list[str]:
    if trained_on is None:
        return ["The model does not say what it was trained on: these rows may be among its training rows."]
    if not trained_on:
        return ["The model was trained on another DATASET: these rows may be among its training rows."]
    return []


def _neighbourhoods(evaluation: Evaluation) -> Table:
    found = evaluation.trust
    differences = {difference.representation: difference for difference in found.differences}
    rows = [["", "trustworthiness", *("minus PCA", *DIFFERENCE_HEADER[1:])]]
    for name, score in found.scores.items():
        cells = _difference_cells(differences[name]) if name in differences else ["", "", ""]
        rows.append([TITLES[name], NONE if score is None else f"{score:.4f}", *cells])
    title = f"Neighbourhoods: {_drawn(found.rows, found.of, 'validation rows', evaluation.seed)}"
    note = f"Trustworthiness among the {found.neighbours} nearest rows: 1 where all were near among the features too."
    if None in found.scores.values():
        note = f"Too few rows for a trustworthiness among {found.neighbours} neighbours."
    axes = "Along its axes, z is turned and scaled to what it explains: `encode --axes`."
    return Table(title, rows, [note, axes, *_pair_verdicts(found.differences)])


def _drawn(rows: int, of: int, what: str, seed: int) -> str:
    return f"{rows:,} {what}" if rows == of else f"{rows:,} of {of:,} {what}, drawn with seed {seed}"


def _labels(evaluation: Evaluation) -> Table:
    found = evaluation.labels
    if found is None:
        return Table("Labels", [], [f"Not probed: {evaluation.no_labels}."])
    header = ["", "linear MCC", "balanced accuracy", "non-linear MCC", "balanced accuracy", "neighbours", "silhouette"]
    rows = [header]
    for name, scores in found.scores.items():
        probes = [number for probe in (scores.linear, scores.nonlinear) for number in _probe_numbers(probe)]
        others = [scores.neighbour_agreement, scores.silhouette]
        rows.append([TITLES[name], *(NONE if value is None else f"{value:.3f}" for value in [*probes, *others])])
    learned = _drawn(found.train_rows, found.train_of, "training rows", evaluation.seed)
    judged = _drawn(found.val_rows, found.val_of, "validation rows", evaluation.seed)
    notes = [
        f"Probes learn from {learned}; scaling and regularisation are chosen there, by balanced accuracy in "
        f"{found.tuning_folds} folds, from the same candidates for all.",
        f"Neighbours: share of a row's {found.neighbours} nearest training rows that have its label.",
        *_left_out(found),
    ]
    for name, scores in found.scores.items():
        for kind, probe in (("linear", scores.linear), ("non-linear", scores.nonlinear)):
            if not probe.converged:
                notes.append(f"The {kind} probe of {TITLES[name]} did not converge.")
    return Table(f"Labels: {found.classes} classes, {judged}", rows, notes)


def _probe_numbers(probe: ProbeScore) -> list[float]:
    return [probe.mcc, probe.balanced_accuracy]


def _label_differences(found: LabelScores) -> Table:
    rows = [["", *DIFFERENCE_HEADER]]
    for difference in found.differences:
        rows.append([f"{_pair(difference)}: {MEASURES[difference.measure]}", *_difference_cells(difference)])
    notes = [
        "Intervals: paired bootstrap of the validation rows. One that contains 0 decides nothing: not distinguishable."
    ]
    return Table("Labels: differences", rows, notes + _pair_verdicts(found.differences))


def _pair(difference: Difference) -> str:
    return f"{TITLES[difference.representation]} − {TITLES[difference.against]}"


def _difference_cells(difference: Difference) -> list[str]:
    interval = NONE
    if difference.low is not None and difference.high is not None:
        interval = f"{difference.low:+.4f} to {difference.high:+.4f}"
    return [f"{difference.value:+.4f}", interval, difference.verdict]


def _pair_verdicts(differences: Iterable[Difference]) -> list[str]:
    """One sentence per pair of representations."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for difference in differences:
        said = pairs.setdefault((difference.representation, difference.against), [])
        said.append(f"{MEASURES[difference.measure]} {difference.verdict}")
    return [f"{TITLES[ours]} beside {TITLES[theirs]}: {'; '.join(said)}." for (ours, theirs), said in pairs.items()]


def _left_out(found: LabelScores) -> list[str]:
    notes = []
    if found.dropped_classes:
        notes.append(
            f"Left out: {count(found.dropped_classes, 'class', 'classes')} with fewer than {FEWEST} training rows, "
            f"{count(found.dropped_rows, 'row')} in all."
        )
    if found.unlabelled:
        notes.append(f"Left out: {count(found.unlabelled, 'row')} without a label.")
    return notes


def _prefixes(evaluation: Evaluation) -> Table:
    """The first latents beside PCA of that width; z alone, the JSON has the other representations too."""
    rows = [["latents kept", "measure", "Res-VAE", "PCA", *DIFFERENCE_HEADER]]
    for prefix in evaluation.prefixes:
        for measure, ours, theirs, difference in _prefix_rows(prefix):
            numbers = [NONE if value is None else f"{value:.4f}" for value in (ours, theirs)]
            cells = [NONE, NONE, EQUAL] if difference is None else _difference_cells(difference)
            rows.append([str(prefix.latents), measure, *numbers, *cells])
    return Table("The first latents alone, beside PCA of as many components", rows, [])


def _prefix_rows(prefix: Prefix) -> Iterable[tuple[str, float | None, float | None, Difference | None]]:
    """Measure, the model's figure, PCA's, and their difference."""
    fit, trust, labels = prefix.reconstruction, prefix.trust, prefix.labels
    yield "R²", fit.model.r2, fit.pca.r2, fit.difference
    known = {
        difference.measure: difference
        for difference in [*trust.differences, *(labels.differences if labels else ())]
        if (difference.representation, difference.against) == (LATENTS, SCORES)
    }
    yield MEASURES[TRUSTWORTHINESS], trust.scores[LATENTS], trust.scores[SCORES], known.get(TRUSTWORTHINESS)
    if labels:
        ours, theirs = labels.scores[LATENTS], labels.scores[SCORES]
        yield MEASURES[LINEAR], ours.linear.mcc, theirs.linear.mcc, known[LINEAR]
        yield MEASURES[NONLINEAR], ours.nonlinear.mcc, theirs.nonlinear.mcc, known[NONLINEAR]
        yield MEASURES[AGREEMENT], ours.neighbour_agreement, theirs.neighbour_agreement, known[AGREEMENT]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
