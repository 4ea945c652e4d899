"""The state of a search, from its record and from the process that works on it: what `resvae-ray status` prints."""

import calendar
import html
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict
from statistics import fmean
from typing import Any

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.files.place import Place
from resvae_ray.search.run.finalists import Finalist, Repeat, left_to_train
from resvae_ray.search.run.lock import Worker
from resvae_ray.search.run.trials import ENDED, STATES, TrialRecord, best_of
from resvae_ray.search.space import describe


def epochs_left(trials: int, length: int, ended: Collection[int], running: Collection[int]) -> float | None:
    """Epochs that a search has still to train; None while no trial has ended.

    A trial to come is taken for the mean of those that have ended. One that runs is taken for the mean of those that
    came further than it has: the longer a trial has survived, the longer it will.

    Args:
        trials: in all.
        length: of a whole trial, in epochs.
        ended, running: the epochs of the trials that have ended and of those that run.
    """
    if not ended:
        return None
    waiting = max(0, trials - len(ended) - len(running))
    return waiting * fmean(ended) + sum(_rest(epochs, length, ended) for epochs in running)


def _rest(epochs: int, length: int, ended: Collection[int]) -> float:
    further = [other for other in ended if other > epochs]
    return max(1.0, (fmean(further) if further else length) - epochs)


def status_of(
    records: list[TrialRecord],
    finalists: list[Finalist],
    chosen: Finalist | None,
    config: Config,
    worker: Worker | None,
    sessions: list[dict[str, Any]],
) -> dict[str, Any]:
    """Counts, the best, trainings under way, failures, rate and time left, as JSON has it.

    Args:
        finalists: whose retrainings count as trainings like the trials.
        chosen: the finalist that the model is of.
        worker: who works on it, or did.
        sessions: of run.json.

    Returns:
        `state` is running, interrupted (trials or finalists are left, and nobody works on them), finished, or failed
        (all trials have ended, and none with a loss). `best` is the lowest loss of a trial, `chosen` the finalist that
        the model is of. `epochs_per_s` and `seconds_left` are None where they cannot be known.
    """
    alive = worker is not None and worker.alive
    counts = _counts(records, config.search.trials, alive)
    best = best_of(records)
    repeats = [repeat for finalist in finalists for repeat in finalist.repeats]
    rows = [row for training in (*records, *repeats) for row in training.epochs]
    times, began = sorted(row[names.TIME] for row in rows), _began(sessions)
    rate = _rate([at for at in times if at >= began][-config.training.epochs :]) if alive else None
    left = counts[names.PENDING] + counts[names.RUNNING] + len(left_to_train(finalists))
    return {
        "state": _state(left, alive, best is not None),
        "counts": counts,
        "best": asdict(best) if best else None,
        "running": [*_running_trials(records), *_running_repeats(repeats, began)] if alive else [],
        "finalists": [finalist.row() for finalist in finalists],
        "finalist_trainings_left": len(left_to_train(finalists)),
        "chosen": chosen.row() if chosen else None,
        "failures": _failures(records, repeats),
        "epochs": len(times),
        "epochs_per_s": rate,
        "seconds_left": _seconds_left(records, repeats, config, rate, began),
        "last_epoch_s": round(max(0.0, time.time() - times[-1]), 1) if times else None,
        "seconds": sum(row[names.SECONDS] for row in rows),
        "worker": asdict(worker) if worker else None,
    }


def _running_trials(records: list[TrialRecord]) -> list[dict[str, Any]]:
    kept = (names.NUMBER, names.EPOCHS, names.BEST_VAL_LOSS, names.NODE)
    return [
        {name: record.row()[name] for name in kept} | {names.REPEAT: None}
        for record in records
        if record.state == names.RUNNING
    ]


def _running_repeats(repeats: list[Repeat], began: float) -> list[dict[str, Any]]:
    """Those that have reported in this session; what waits for its turn is not known from one that just began."""
    return [
        {
            names.NUMBER: repeat.number,
            names.REPEAT: repeat.repeat,
            names.EPOCHS: repeat.last_epoch,
            names.BEST_VAL_LOSS: min(row[names.VAL_LOSS] for row in repeat.epochs),
            names.NODE: repeat.epochs[-1][names.NODE],
        }
        for repeat in repeats
        if not repeat.ended and repeat.epochs and repeat.epochs[-1][names.TIME] >= began
    ]


def _failures(records: list[TrialRecord], repeats: list[Repeat]) -> list[dict[str, Any]]:
    trials = [(record.number, None, record.failure) for record in records if record.state == names.FAILED]
    trainings = [(repeat.number, repeat.repeat, repeat.failure) for repeat in repeats if repeat.failure is not None]
    return [
        {names.NUMBER: number, names.REPEAT: repeat, names.FAILURE: failure}
        for number, repeat, failure in (*trials, *trainings)
    ]


def _state(left: int, alive: bool, has_best: bool) -> str:
    if alive:
        return "running"
    if left:
        return "interrupted"
    return "finished" if has_best else "failed"


def _counts(records: list[TrialRecord], trials: int, alive: bool) -> dict[str, int]:
    """Trials by state; of a search that is not running, the unfinished ones are pending."""
    found = Counter(record.state for record in records)
    counts = {state: found[state] for state in STATES.values()}
    counts[names.PENDING] = max(0, trials - (len(records) - found[names.PENDING]))
    if not alive:
        counts[names.PENDING] += counts[names.RUNNING]
        counts[names.RUNNING] = 0
    return counts


def _began(sessions: list[dict[str, Any]]) -> float:
    """When the last session did, in seconds since 1970."""
    return calendar.timegm(time.strptime(sessions[-1]["started"], names.TIME_FORMAT)) if sessions else 0.0


def _rate(times: list[float]) -> float | None:
    """Reports a second; a silence longer than usual slows it down."""
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return min((len(times) - 1) / (times[-1] - times[0]), len(times) / (max(time.time(), times[-1]) - times[0]))


def _seconds_left(
    records: list[TrialRecord], repeats: list[Repeat], config: Config, rate: float | None, began: float
) -> float | None:
    """By the rate, but no longer than --max-hours lets it."""
    length = config.training.epochs
    ended = [record.last_epoch for record in records if record.state in ENDED]
    running = [record.last_epoch for record in records if record.state == names.RUNNING]
    left = epochs_left(config.search.trials, length, ended, running)
    if rate is None or left is None:
        return None
    if repeats:
        left += sum(length - repeat.last_epoch for repeat in repeats if not repeat.ended)
    else:
        left += config.search.finalists * config.search.seeds * length
    limit = began + config.search.max_hours * 3600 - time.time()
    seconds = min(left / rate, limit) if config.search.max_hours else left / rate
    return round(max(0.0, seconds), 1)


def as_line(path: Place, status: dict[str, Any]) -> str:
    """For a prompt."""
    return f"Run({str(path)!r}: {'; '.join(f'{name} {text}' for name, text in _rows(status))})"


def as_html(path: Place, status: dict[str, Any]) -> str:
    """For a notebook: a small table."""
    rows = [("run", str(path)), *_rows(status)]
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"


def _rows(status: dict[str, Any]) -> list[tuple[str, str]]:
    counts = ", ".join(f"{many} {state}" for state, many in status["counts"].items() if many)
    rows = [("state", status["state"]), ("trials", counts), ("epochs", f"{status['epochs']:,}")]
    if best := status["best"]:
        where = f"{best['best_val_loss']:,.2f} in trial {best['number']} at epoch {best['best_epoch']}"
        rows += [("lowest loss", where), ("parameters", describe(best["params"]))]
    if chosen := status["chosen"]:
        spread = f" ± {chosen['sd']:,.2f}" if chosen["sd"] is not None else ""
        mean = f"{chosen['mean']:,.2f}{spread} over {len(chosen['losses'])} fresh seeds"
        rows.append(("chosen finalist", f"trial {chosen['number']}, {mean}"))
    return rows
