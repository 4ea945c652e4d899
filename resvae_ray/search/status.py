"""How a search stands, from its record and from whoever works on it: what `resvae-ray status` tells."""

import calendar
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.search.finalists import Finalist, left_to_train
from resvae_ray.search.lock import Worker
from resvae_ray.search.outlook import epochs_left
from resvae_ray.search.records import STATES, TrialRecord, best_of

ENDED = (names.COMPLETE, names.PRUNED, names.FAILED)


def status_of(
    records: list[TrialRecord],
    finalists: list[Finalist],
    config: Config,
    worker: Worker | None,
    sessions: list[dict[str, Any]],
) -> dict[str, Any]:
    """Counts, the best, trials under way, failures, rate and time left, as JSON has it.

    Args:
        worker: who works on it, or did.
        sessions: of run.json.

    Returns:
        `state` is running, interrupted (trials or finalists are left, and nobody works on them), finished, or failed
        (all trials have ended, and none with a loss). `epochs_per_s` and `seconds_left` are None where they cannot be
        known.
    """
    alive = worker is not None and worker.alive
    counts = _counts(records, config.search.trials, alive)
    best = best_of(records)
    running = [record for record in records if alive and record.state == names.RUNNING]
    times = sorted(row[names.TIME] for record in records for row in record.epochs)
    began = _began(sessions)
    rate = _rate([at for at in times if at >= began][-config.training.epochs :]) if alive else None
    return {
        "state": _state(counts[names.PENDING] + len(left_to_train(finalists)), alive, best is not None),
        "counts": counts,
        "best": asdict(best) if best else None,
        "running": [
            {name: record.row()[name] for name in (names.NUMBER, names.EPOCHS, names.BEST_VAL_LOSS, names.NODE)}
            for record in running
        ],
        "finalists": [finalist.row() for finalist in finalists],
        "failures": [
            {names.NUMBER: record.number, names.FAILURE: record.failure}
            for record in records
            if record.state == names.FAILED
        ],
        "epochs": len(times),
        "epochs_per_s": rate,
        "seconds_left": _seconds_left(records, config, rate, began),
        "last_epoch_s": round(max(0.0, time.time() - times[-1]), 1) if times else None,
        "seconds": sum(record.row()[names.SECONDS] for record in records),
        "worker": asdict(worker) if worker else None,
    }


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
    counts[names.PENDING] += max(0, trials - len(records))
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


def _seconds_left(records: list[TrialRecord], config: Config, rate: float | None, began: float) -> float | None:
    """By the rate, but no longer than --max-hours lets it."""
    ended = [record.last_epoch for record in records if record.state in ENDED]
    running = [record.last_epoch for record in records if record.state == names.RUNNING]
    left = epochs_left(config.search.trials, ended, running)
    if rate is None or left is None:
        return None
    limit = began + config.search.max_hours * 3600 - time.time()
    seconds = min(left / rate, limit) if config.search.max_hours else left / rate
    return round(max(0.0, seconds), 1)
