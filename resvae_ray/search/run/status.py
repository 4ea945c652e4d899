"""The state of a search, from its record and from the process that works on it: what `resvae-ray status` prints."""

import calendar
import html
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from statistics import fmean
from typing import Any

from resvae_ray import names
from resvae_ray.config import PROMOTE, Config
from resvae_ray.files.place import Place
from resvae_ray.search.run.finalists import Finalist, left_to_train
from resvae_ray.search.run.lock import Worker
from resvae_ray.search.run.snapshot import Snapshot
from resvae_ray.search.run.trainings import STATES, BestTrial, TrainingRecord, best_of
from resvae_ray.search.rungs import rung_epochs
from resvae_ray.search.space import describe

UNFINISHED = (names.PENDING, names.RUNNING, names.PAUSED)


@dataclass(frozen=True)
class Status:
    """The state of a search. `as_json` is what `resvae-ray status --json` prints.

    Attributes:
        state: running, interrupted (trials or finalists are left, and no process trains them), finished, or failed (all
            trials have ended, and none with a loss).
        counts: trials by state; "paused" only in a search that promotes.
        best: the lowest loss of a trial.
        running: the trainings that have begun, while a process trains them.
        finalists: a row per finalist.
        finalist_trainings_left: retrainings that have not ended.
        chosen: the row of the finalist that the model is of.
        failures: number, repeat and reason of each training that failed.
        epochs: reported by all trainings.
        epochs_per_s, seconds_left: None if unknown.
        last_epoch_s: seconds since the last report.
        seconds: of training.
        worker: the process that trains, or did until it was killed.
        enough: why a search with `--trials auto` ended; None while it has not.
    """

    state: str
    counts: dict[str, int]
    best: BestTrial | None
    running: list[dict[str, Any]]
    finalists: list[dict[str, Any]]
    finalist_trainings_left: int
    chosen: dict[str, Any] | None
    failures: list[dict[str, Any]]
    epochs: int
    epochs_per_s: float | None
    seconds_left: float | None
    last_epoch_s: float | None
    seconds: float
    worker: Worker | None
    enough: str | None

    def as_json(self) -> dict[str, Any]:
        """The fields, in their order."""
        return asdict(self)


def epochs_left(trials: int, length: int, ended: Collection[int], running: Collection[int]) -> float | None:
    """Epochs that a search has still to train; None while no trial has ended.

    A future trial counts as the mean of the ended trials. A running trial counts as the mean of the ended trials
    that ran longer than it has so far.

    Args:
        trials: in all.
        length: of a whole trial, in epochs.
        ended, running: the epochs of the trials that have ended and of those that run.
    """
    if not ended:
        return None
    waiting = max(0, trials - len(ended) - len(running))
    return waiting * fmean(ended) + sum(_rest(epochs, length, ended) for epochs in running)


def promoting_epochs_left(config: Config, trained: int, running: int) -> float:
    """Epochs that a search that promotes has still to train.

    It assumes that 1/factor of all trials continue at each rung, and that each running trial has an epoch left.

    Args:
        trained: epochs of all trials so far.
        running: trials that run.
    """
    left = -float(trained)
    last, going_on = 0, float(config.search.most_trials)
    for epoch in [*rung_epochs(config), config.training.epochs]:
        left += going_on * (epoch - last)
        last, going_on = epoch, going_on / config.search.reduction_factor
    return max(left, float(running))


def _rest(epochs: int, length: int, ended: Collection[int]) -> float:
    further = [other for other in ended if other > epochs]
    return max(1.0, (fmean(further) if further else length) - epochs)


def status_of(
    snapshot: Snapshot,
    finalists: Sequence[Finalist],
    chosen: Finalist | None,
    config: Config,
    worker: Worker | None,
    sessions: list[dict[str, Any]],
) -> Status:
    """Counts, the best, trainings under way, failures, rate and time left.

    Args:
        finalists: their retrainings count as trainings like the trials.
        chosen: the finalist that the model is of.
        worker: the process that trains, or did.
        sessions: of run.json.
    """
    trials, wanted = snapshot.trials, snapshot.wanted(config.search)
    alive = worker is not None and worker.alive
    counts = _counts(trials, wanted, alive, config)
    best = best_of(trials)
    repeats = [repeat for finalist in finalists for repeat in finalist.repeats]
    trainings = [*trials, *repeats]
    times, began = sorted(chain.from_iterable(each.curve.times for each in trainings)), _began(sessions)
    rate = _rate([at for at in times if at >= began][-config.training.epochs :]) if alive else None
    left = sum(counts.get(state, 0) for state in UNFINISHED) + len(left_to_train(finalists))
    return Status(
        state=_state(left, alive, best is not None),
        counts=counts,
        best=best,
        running=[_running(each) for each in trainings if _is_running(each, began)] if alive else [],
        finalists=[finalist.row() for finalist in finalists],
        finalist_trainings_left=len(left_to_train(finalists)),
        chosen=chosen.row() if chosen else None,
        failures=[_failure(each) for each in trainings if each.state == names.FAILED],
        epochs=len(times),
        epochs_per_s=rate,
        seconds_left=_seconds_left(trials, wanted, repeats, config, rate, began),
        last_epoch_s=round(max(0.0, time.time() - times[-1]), 1) if times else None,
        seconds=sum(chain.from_iterable(each.curve.seconds for each in trainings)),
        worker=worker,
        enough=snapshot.enough,
    )


def _is_running(training: TrainingRecord, began: float) -> bool:
    """A retraining is one if it has reported in this session: nothing is known of one that waits or has just begun."""
    if training.state != names.RUNNING:
        return False
    return training.repeat is None or training.curve.times[-1] >= began


def _running(training: TrainingRecord) -> dict[str, Any]:
    about = {
        names.NUMBER: training.number,
        names.EPOCHS: training.last_epoch,
        names.BEST_VAL_LOSS: training.best_val_loss,
        names.NODE: training.curve.node,
    }
    if training.repeat is None:
        return about | {names.REPEAT: None}
    return {names.NUMBER: training.number, names.REPEAT: training.repeat} | about


def _failure(training: TrainingRecord) -> dict[str, Any]:
    return {names.NUMBER: training.number, names.REPEAT: training.repeat, names.FAILURE: training.failure}


def _state(left: int, alive: bool, has_best: bool) -> str:
    if alive:
        return "running"
    if left:
        return "interrupted"
    return "finished" if has_best else "failed"


def _counts(trials: Sequence[TrainingRecord], wanted: int, alive: bool, config: Config) -> dict[str, int]:
    """Trials by state; in a search that is not running, those that ran are pending."""
    found = Counter(trial.state for trial in trials)
    known = [state for state in STATES if state != names.PAUSED or config.search.scheduler == PROMOTE]
    counts = {state: found[state] for state in known}
    counts[names.PENDING] = max(0, wanted - (len(trials) - found[names.PENDING]))
    if not alive:
        counts[names.PENDING] += counts[names.RUNNING]
        counts[names.RUNNING] = 0
    return counts


def _began(sessions: list[dict[str, Any]]) -> float:
    """The start of the last session, in seconds since 1970."""
    return calendar.timegm(time.strptime(sessions[-1]["started"], names.TIME_FORMAT)) if sessions else 0.0


def _rate(times: list[float]) -> float | None:
    """Reports per second. A longer silence than usual lowers the rate."""
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return min((len(times) - 1) / (times[-1] - times[0]), len(times) / (max(time.time(), times[-1]) - times[0]))


def _seconds_left(
    trials: Sequence[TrainingRecord],
    wanted: int,
    repeats: Sequence[TrainingRecord],
    config: Config,
    rate: float | None,
    began: float,
) -> float | None:
    """By the rate, but not more than --max-hours leaves."""
    length = config.training.epochs
    running = [trial.last_epoch for trial in trials if trial.state == names.RUNNING]
    if config.search.scheduler == PROMOTE:
        left = promoting_epochs_left(config, sum(trial.last_epoch for trial in trials), len(running))
    else:
        left = epochs_left(wanted, length, [trial.last_epoch for trial in trials if trial.ended], running)
    if rate is None or left is None:
        return None
    if repeats:
        left += sum(length - repeat.last_epoch for repeat in repeats if not repeat.ended)
    else:
        left += config.search.finalists * config.search.seeds * length
    limit = began + config.search.max_hours * 3600 - time.time()
    seconds = min(left / rate, limit) if config.search.max_hours else left / rate
    return round(max(0.0, seconds), 1)


def as_line(path: Place, status: Status) -> str:
    """The status as one line, for a Python prompt."""
    return f"Run({str(path)!r}: {'; '.join(f'{name} {text}' for name, text in _rows(status))})"


def as_html(path: Place, status: Status) -> str:
    """The status as a small HTML table, for a notebook."""
    rows = [("run", str(path)), *_rows(status)]
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"


def _rows(status: Status) -> list[tuple[str, str]]:
    counts = ", ".join(f"{many} {state}" for state, many in status.counts.items() if many)
    rows = [("state", status.state), ("trials", counts), ("epochs", f"{status.epochs:,}")]
    if best := status.best:
        where = f"{best.best_val_loss:,.2f} in trial {best.number} at epoch {best.best_epoch}"
        rows += [("lowest loss", where), ("parameters", describe(best.params))]
    if status.enough:
        rows.append(("ended because", status.enough))
    if chosen := status.chosen:
        spread = f" ± {chosen['sd']:,.2f}" if chosen["sd"] is not None else ""
        mean = f"{chosen['mean']:,.2f}{spread} over {len(chosen['losses'])} fresh seeds"
        rows.append(("chosen finalist", f"trial {chosen['number']}, {mean}"))
    return rows
