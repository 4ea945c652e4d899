"""The parts of the report, top to bottom: what is said where, in tables and sentences around the figures."""

from collections.abc import Iterator, Mapping
from typing import Any

from resvae_ray import names
from resvae_ray.config import Metric
from resvae_ray.config_file import config_to_toml
from resvae_ray.errors import ResVAERayError
from resvae_ray.evaluation.results import tables
from resvae_ray.progress import duration
from resvae_ray.reporting.finalist_figures import finalist_rows
from resvae_ray.reporting.page import Html, Section, cards, element, folded, joined, panel, paragraph, table
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.style import count, loss, number
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trials import BestTrial, EpochRow
from resvae_ray.search.space import describe

Plots = Mapping[str, Html]

# The result of the method's paper, which README shows too, and its data.
PAPER = {
    "model": "ESM2_650M",
    "z_dim": 18,
    "hidden_dim": 859,
    "learning_rate": 0.000469,
    "eval_loss": 22509.06,
    "loss_type": "MSE",
    "epoch": 80,
    "input_dim": 1280,
}
PAPER_PROTEINS = 5549
PAPER_METRIC = Metric(1000.0, "MSE", "sum")
SEARCH = ("history", "importances", "parallel_coordinates", "slices")
COURSE = ("learning_curves", "timeline")
WORTH = ("rate_distortion",)
LATENTS = ("latent_map", "latent_dimensions", "errors")
MOST_FAILURES = 30
WORST = 10  # proteins


def head(findings: Findings) -> Html:
    """What the search is, and its most important numbers."""
    run, status = findings.run, findings.status
    counts = status["counts"]
    best = _best_row(findings)
    ended = " · ".join(f"{many} {state}" for state, many in counts.items() if many)
    values = [
        (loss(best[names.VAL_LOSS]) if best else "–", "lowest validation loss"),
        (f"{best[names.R2]:.3f}" if best.get(names.R2) is not None else "–", "variance explained (R²) then"),
        (f"{sum(counts.values()):,}", f"trials: {ended}"),
        (f"{status['epochs']:,}", f"epochs trained, {findings.epochs_saved:,} saved by stopping early"),
        (duration(status["seconds"]), "of training, all trials together"),
    ]
    about = " · ".join([run.config.name, status["state"], f"begun {_clock(run.info.get('created'))}", str(run.path)])
    return joined([element("h1", f"Res-VAE search: {run.path.name}"), paragraph(about, "soft"), cards(values)])


def _clock(time: object) -> str:
    """2026-11-22T14:57:21Z as 2026-11-22 14:57 UTC."""
    text = str(time or "at an unknown time")
    return f"{text[:10]} {text[11:16]} UTC" if len(text) == len("2026-11-22T14:57:21Z") else text


def _best_row(findings: Findings) -> EpochRow:
    """All that was reported of the best epoch; empty while there is none."""
    best = findings.best
    return next((record.best or {} for record in findings.records if best and record.number == best.number), {})


def sections(findings: Findings, plots: Plots) -> list[Section]:
    """All of them; the page's table of contents lists their titles."""
    return [
        Section("result", "Result", joined(_result(findings))),
        Section("search", "Search", joined(plots[name] for name in SEARCH)),
        Section("course", "Early stopping", joined([*(plots[name] for name in COURSE), *_judges(findings)])),
        *([Section("finalists", "Finalists", joined(_finalists(findings, plots)))] if "finalists" in plots else []),
        Section("latents", "Latents", joined(_latents(findings, plots))),
        Section("worth", "Does it earn its place?", joined(_worth(findings, plots))),
        Section("failures", "Failures", joined(_failures(findings))),
        Section("data", "Data and environment", joined(_environment(findings))),
    ]


def _result(findings: Findings) -> Iterator[Html]:
    run, best = findings.run, findings.best
    if best is None:
        yield paragraph("No trial has come to the end of an epoch yet.", "missing")
        return
    rows = [[f"this search, {name}", *run.result_table(trial).iloc[0]] for name, trial in _results(findings)]
    rows.append(["the paper", *PAPER.values()])
    yield panel(
        element("h3", "Best result beside the paper's"),
        table(["", *PAPER], [list(map(_cell, ["", *PAPER], row)) for row in rows]),
        paragraph(comparable(findings), "note"),
    )
    if (chosen := findings.winner) is not None:
        yield paragraph(
            f"Trial {chosen.number} was chosen for its mean over {count(len(chosen.losses), 'fresh seed')}, "
            f"{loss(chosen.mean or 0.0)}, which is the fair figure for it; the model has the best of those weights.",
            "note",
        )
    if lost := _lost_best(run):
        yield paragraph(f"{lost[0].upper()}{lost[1:]}.", "note")
    row = _best_row(findings)
    facts = [("trial", best.number), *best.params.items()]
    facts += [(BEST_ROWS[name], row[name]) for name in BEST_ROWS if row.get(name) is not None]
    yield panel(
        element("h3", f"The best trial, at epoch {best.best_epoch}"),
        table([], [(name, number(value)) for name, value in facts], "facts"),
    )


def _results(findings: Findings) -> Iterator[tuple[str, BestTrial]]:
    """The model and, where that is another, the lowest loss of a trial."""
    if findings.winner is not None and findings.model is not None:
        yield "the model", findings.model
    if findings.best is not None:
        yield "lowest of the trials" if findings.winner else "best trial", findings.best


def _lost_best(run: Run) -> str | None:
    try:
        return run.lost_best()
    except ResVAERayError:  # a search at work may remove what was just listed
        return None


BEST_ROWS = {
    names.VAL_LOSS: "validation loss, on the paper's scale (about 32 proteins)",
    names.TRAIN_LOSS: "training loss, on the same scale",
    names.VAL_RECONSTRUCTION: "squared error a protein, at drawn latents",
    names.VAL_KLD: "KLD a protein, nats",
    names.R2: "explained variance (R²), at drawn latents",
    names.ACTIVE_UNITS: "active latents",
    names.WORST_LOSS: "largest loss of one validation protein",
}


def _cell(column: str, value: Any) -> str:
    if column == "eval_loss":
        return loss(float(value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def comparable(findings: Findings) -> str:
    """Whether the two losses may be compared, in a sentence."""
    data, metric = findings.run.info["dataset"], findings.run.config.training.metric
    rows = data["train_rows"] + data["val_rows"]
    if metric != PAPER_METRIC:
        how = f"beta {metric.beta:g}, {metric.loss_type}, {metric.reduction}"
        return f"The losses cannot be compared: this search measures with {how}, the paper with beta 1000, MSE, sum."
    if data["dim"] != PAPER["input_dim"]:
        return (
            f"Other data: these features are {data['dim']:,} numbers wide, the paper's 1,280. A lower or higher loss "
            "here says nothing about the paper's."
        )
    if rows != PAPER_PROTEINS:
        return (
            f"Other data: {rows:,} proteins here, {PAPER_PROTEINS:,} in the paper. A lower or higher loss here says "
            "nothing about the paper's."
        )
    return (
        f"Width and number of proteins are the paper's ({PAPER_PROTEINS:,} × 1,280). If these are its ESM-2 cls "
        "features, the losses can be compared; the paper draws the latents anew at each validation, here the noise is "
        "fixed."
    )


def _finalists(findings: Findings, plots: Plots) -> Iterator[Html]:
    yield plots["finalists"]
    if findings.finalists:
        header, *rows = finalist_rows(findings.finalists)
        yield panel(element("h3", "The finalists under fresh seeds"), table(header, rows, "numbers"))


def _latents(findings: Findings, plots: Plots) -> Iterator[Html]:
    try:
        chosen = findings.chosen
        known = [("trial", chosen.trial), ("epoch", chosen.epoch), ("validation loss", chosen.loss)]
        said = ", ".join(f"{name} {number(value)}" for name, value in known if value is not None)
        yield paragraph(
            f"Of the model in RUN/model, or of the best saved weights while there is none ({said}).", "soft"
        )
    except ResVAERayError as error:
        yield paragraph(f"{error}.", "missing")
    yield from (plots[name] for name in LATENTS)
    try:
        yield _worst(findings)
    except ResVAERayError:
        return  # the figure above has said why


def _worst(findings: Findings) -> Html:
    proteins = findings.validation
    order = (-proteins.errors).argsort(kind="stable")[:WORST]
    middle = sorted(proteins.errors)[len(proteins) // 2]
    labels = proteins.labels
    header = ["protein", *(["label"] if labels else []), "squared error", "times the median"]
    rows = [
        [
            proteins.ids[row],
            *([labels[row]] if labels else []),
            number(float(proteins.errors[row])),
            f"{proteins.errors[row] / middle:.1f}" if middle else "–",
        ]
        for row in order
    ]
    title = f"The {len(rows)} validation proteins that are reconstructed worst"
    return panel(element("h3", title), table(header, rows))


def _judges(findings: Findings) -> Iterator[Html]:
    """Whether the rungs were good judges."""
    if found := findings.rank_correlations:
        said = ", ".join(f"{rho:.2f} at epoch {rung}" for rung, rho in found.items())
        yield paragraph(
            f"Rank correlation (Spearman) of the {len(findings.ended(names.COMPLETE))} complete trials' losses at a "
            f"rung with those at the end: {said}. Near 1 a rung judges well; near 0 it stops winners too, and a longer "
            "grace or averaged weights help.",
            "note",
        )


def _worth(findings: Findings, plots: Plots) -> Iterator[Html]:
    """What `resvae-ray evaluate` says."""
    yield from (plots[name] for name in WORTH if name in plots)
    try:
        evaluation = findings.evaluation
    except ResVAERayError as error:
        yield paragraph(f"Not evaluated: {error}.", "missing")
        return
    yield paragraph("The latents beside PCA of the same width and the raw features.", "soft")
    for part in tables(evaluation):
        shown = table(part.rows[0], part.rows[1:], "numbers") if part.rows else ""
        yield panel(element("h3", part.title), shown, *(paragraph(note) for note in part.notes))


def _failures(findings: Findings) -> Iterator[Html]:
    failures = findings.status["failures"]
    if not failures:
        yield paragraph("None failed.")
        return
    yield paragraph(f"{count(len(failures), 'training')} failed; the whole text of each lies in its folder, error.txt.")
    params = {record.number: record.params for record in findings.records}
    rows = [
        [_which(failure), describe(params.get(failure[names.NUMBER], {})), failure[names.FAILURE]]
        for failure in failures[:MOST_FAILURES]
    ]
    yield panel(table(["trial", "parameters", "reason"], rows, ""))
    if len(failures) > MOST_FAILURES:
        yield paragraph(f"And {len(failures) - MOST_FAILURES:,} more.")


def _which(failure: Mapping[str, Any]) -> str:
    repeat = failure[names.REPEAT]
    return str(failure[names.NUMBER]) if repeat is None else f"{failure[names.NUMBER]}, finalist, seed {repeat + 1}"


def _environment(findings: Findings) -> Iterator[Html]:
    info = findings.run.info
    yield panel(element("h3", "Data"), table([], _flat(info["dataset"]), "facts"))
    many = len(info["sessions"])
    title = "Environment" if many == 1 else f"Environment of the last of {many} sessions"
    yield from (panel(element("h3", title), table([], _flat(last), "facts")) for last in info["sessions"][-1:])
    yield panel(
        element("h3", "Configuration"),
        folded("search.toml", element("pre", config_to_toml(findings.run.config))),
    )


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Nested JSON as rows, what is flat in one: (versions, python 3.11.7 · torch 2.13.0)."""
    for name, value in content.items():
        title = f"{before}{_words(name)}"
        if isinstance(value, Mapping) and any(isinstance(part, (Mapping, list)) for part in value.values()):
            yield from _flat(value, f"{title} · ")
        elif isinstance(value, list):
            yield from _flat({str(place): part for place, part in enumerate(value, 1)}, f"{title} ")
        elif isinstance(value, Mapping):
            yield title, " · ".join(f"{_words(key)} {_amount(key, part)}" for key, part in value.items()) or "–"
        else:
            yield title, _amount(name, value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _amount(name: str, value: object) -> str:
    """A number for people, bytes as GiB."""
    return f"{value / 2**30:,.1f} GiB" if "memory" in name and isinstance(value, (int, float)) else number(value)
