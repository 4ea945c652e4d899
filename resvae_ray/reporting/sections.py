"""The values that the report's page shows, section by section; `templates/page.html` says what stands where."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from resvae_ray import names
from resvae_ray._version import __version__
from resvae_ray.config import AUTO, PAPER_METRIC
from resvae_ray.config_file import config_to_toml
from resvae_ray.errors import ResVAERayError
from resvae_ray.evaluation.encoded_rows import Proteins
from resvae_ray.evaluation.results import tables
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.style import loss, number
from resvae_ray.search.run.epoch_log import EpochRow
from resvae_ray.search.run.finalists import Finalist
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import BestTrial
from resvae_ray.search.space import describe

Value = TypeVar("Value")
TableRows = list[list[str]]  # of a table, the header first
FactRows = list[tuple[str, str]]  # pairs of a name and a value

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
WORST = 10  # proteins
LARGE_GAP = 0.05  # in R² between training and validation rows


def page_values(findings: Findings) -> dict[str, Any]:
    """All values of the page but the figures, by the names that `templates/page.html` uses."""
    run, status = findings.run, findings.status
    return {
        "findings": findings,
        "title": run.path.name,
        "about": [run.config.name, status.state, f"started {_clock(run.info.get('created'))}", str(run.path)],
        "best_r2": _best_row(findings).get(names.R2),
        "enough": status.enough,
        "counts": status.counts,
        "ended": " · ".join(f"{many} {state}" for state, many in status.counts.items() if many),
        "epochs": status.epochs,
        "seconds": status.seconds,
        "results": _results(findings),
        "comparable": comparable(findings),
        "lost_best": _lost_best(run),
        "overfitting": overfitting(findings),
        "best_facts": _best_facts(findings),
        "rank_correlations": _rank_correlations(findings),
        "finalist_table": finalist_rows(findings.finalists),
        "chosen": attempt(lambda: _chosen(findings)),
        "worst": attempt(lambda: _worst(findings.validation)),
        "evaluation": attempt(lambda: tables(findings.evaluation)),
        "failures": _failures(findings),
        "data_facts": list(_flat(run.info["dataset"])),
        "sessions": [list(_flat(session)) for session in run.info["sessions"]],
        "configuration": config_to_toml(run.config),
        "written": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "version": __version__,
    }


@dataclass(frozen=True)
class Attempt(Generic[Value]):
    """A value, or the reason why the RUN cannot give it."""

    value: Value | None
    missing: str | None


def attempt(read: Callable[[], Value]) -> Attempt[Value]:
    """Calls `read`; a ResVAERayError becomes the reason."""
    try:
        return Attempt(read(), None)
    except ResVAERayError as error:
        return Attempt(None, str(error))


# --- Result ------------------------------------------------------------------------------------------------------


def _clock(created: object) -> str:
    """2026-11-22T14:57:21Z as 2026-11-22 14:57 UTC."""
    text = str(created or "at an unknown time")
    return f"{text[:10]} {text[11:16]} UTC" if len(text) == len("2026-11-22T14:57:21Z") else text


def _best_row(findings: Findings) -> EpochRow:
    """The record of the best epoch of all trials; empty before the first epoch ends."""
    best = findings.best
    return next((record.best or {} for record in findings.records if best and record.number == best.number), {})


def _results(findings: Findings) -> TableRows:
    """The model, the best trial where that is another, and the paper's result."""
    named: list[tuple[str, BestTrial]] = []
    if findings.winner is not None and findings.model is not None:
        named.append(("the model", findings.model))
    if findings.best is not None:
        named.append(("lowest of the trials" if findings.winner else "best trial", findings.best))
    rows = [[name, *findings.run.result_table(trial).iloc[0]] for name, trial in named]
    columns = ["", *PAPER]
    return [
        columns,
        *([_cell(*cell) for cell in zip(columns, row, strict=True)] for row in [*rows, ["the paper", *PAPER.values()]]),
    ]


def _cell(column: str, value: Any) -> str:
    if column == "eval_loss":
        return loss(float(value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def comparable(findings: Findings) -> str:
    """A sentence that says whether this search's loss and the paper's may be compared."""
    data, training = findings.run.info["dataset"], findings.run.config.training
    rows = data["train_rows"] + data["val_rows"]
    if training.beta == AUTO or training.metric != PAPER_METRIC:
        # With an automatic beta, the trials are compared by a fixed one; see `metric_for`.
        beta = "a beta from the training rows" if training.beta == AUTO else f"beta {_cell('beta', training.beta)}"
        how = f"{beta}, {training.loss_type}, {training.reduction}"
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
        "features, the losses can be compared. The paper samples new latents at each validation; here the noise is "
        "fixed."
    )


def _lost_best(run: Run) -> str | None:
    lost = attempt(run.lost_best).value  # a running search may remove a file that was just listed
    return f"{lost[0].upper()}{lost[1:]}" if lost else None


@dataclass(frozen=True)
class Overfitting:
    """R² at the posterior mean, on the training and on the validation rows."""

    train: float
    val: float


def overfitting(findings: Findings) -> Overfitting | None:
    """The two R² of the chosen model if their gap is large; None if it is not, or if they are unknown."""
    sides = attempt(lambda: (findings.training, findings.validation)).value
    if sides is None or not all(side.spreads.sum() > 0 for side in sides):
        return None
    found = Overfitting(*(float(1 - side.errors.sum() / side.spreads.sum()) for side in sides))
    return found if found.train - found.val > LARGE_GAP else None


BEST_ROWS = {
    names.VAL_LOSS: "validation loss, on the paper's scale (per batch of 32 proteins)",
    names.TRAIN_LOSS: "training loss, on the same scale",
    names.VAL_RECONSTRUCTION: "squared error per protein, at sampled latents",
    names.VAL_KLD: "KLD per protein, nats",
    names.R2: "explained variance (R²), at sampled latents",
    names.ACTIVE_UNITS: "active latents",
    names.WORST_LOSS: "largest loss of one validation protein",
}


def _best_facts(findings: Findings) -> FactRows:
    best, row = findings.best, _best_row(findings)
    if best is None:
        return []
    facts = [("trial", best.number), *best.params.items()]
    facts += [(label, row[name]) for name, label in BEST_ROWS.items() if row.get(name) is not None]
    return [(name, number(value)) for name, value in facts]


# --- Early stopping, finalists, latents, failures ----------------------------------------------------------------


def _rank_correlations(findings: Findings) -> str:
    """0.53 at epoch 10, 0.69 at epoch 30; empty if there are too few complete trials."""
    return ", ".join(f"{rho:.2f} at epoch {rung}" for rung, rho in findings.rank_correlations.items())


def finalist_rows(found: list[Finalist]) -> TableRows:
    """Losses in the search and under fresh seeds, a row per finalist."""
    header = ["trial", "in the search", "mean over fresh seeds", "± sd", "overtuning gap", "seeds", "failed"]
    return [header, *map(_finalist_row, found)]


def _finalist_row(finalist: Finalist) -> list[str]:
    early = "" if finalist.complete else f", stopped at epoch {finalist.search_epochs}"
    return [
        str(finalist.number),
        f"{loss(finalist.search_loss)}{early}",
        *("–" if value is None else loss(value) for value in (finalist.mean, finalist.sd)),
        "–" if finalist.gap is None else f"{finalist.gap:+,.2f}",
        str(len(finalist.losses)),
        str(finalist.failed),
    ]


def _chosen(findings: Findings) -> str:
    """Trial, epoch and loss of the model that the figures of the latents show."""
    chosen = findings.chosen
    known = [("trial", chosen.trial), ("epoch", chosen.epoch), ("validation loss", chosen.loss)]
    return ", ".join(f"{name} {number(value)}" for name, value in known if value is not None)


def _worst(proteins: Proteins) -> TableRows:
    """The validation proteins with the largest errors."""
    order = (-proteins.errors).argsort(kind="stable")[:WORST]
    middle = sorted(proteins.errors)[len(proteins) // 2]
    labels = proteins.labels
    header = ["protein", *(["label"] if labels else []), "squared error", "times the median"]
    return [
        header,
        *(
            [
                proteins.ids[row],
                *([labels[row]] if labels else []),
                number(float(proteins.errors[row])),
                f"{proteins.errors[row] / middle:.1f}" if middle else "–",
            ]
            for row in order
        ),
    ]


def _failures(findings: Findings) -> TableRows:
    """Trial, parameters and reason of each training that failed; no header."""
    params = {record.number: record.params for record in findings.records}
    return [
        [_which(failure), describe(params.get(failure[names.NUMBER], {})), failure[names.FAILURE]]
        for failure in findings.status.failures
    ]


def _which(failure: Mapping[str, Any]) -> str:
    repeat = failure[names.REPEAT]
    return str(failure[names.NUMBER]) if repeat is None else f"{failure[names.NUMBER]}, finalist, seed {repeat + 1}"


# --- Data and environment ----------------------------------------------------------------------------------------


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Nested JSON as rows; a mapping without further nesting is one row: (versions, python 3.11.7 · torch 2.13.0)."""
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
