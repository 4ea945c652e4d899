"""Tells people how a search goes: one line that renews itself on a terminal, a line a finished trial in a log file."""

import sys
import time
from collections import Counter
from typing import Any, TextIO

from ray.tune import Callback
from ray.tune.experiment import Trial

from resvae_ray import names
from resvae_ray.progress import duration
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.status import epochs_left
from resvae_ray.search.run.trainings import best_of
from resvae_ray.search.space import describe

RENEW_S = 1.0  # of the line on a terminal
LOG_S = 300.0  # between two lines in a log file while no trial ends


class ConsoleProgress(Callback):
    """Counts what it hears of.

    Args:
        run: the search; its record says what earlier sessions came to.
        stream: where to write.
    """

    def __init__(self, run: Run, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._trials, self._length = run.config.search.trials, run.config.training.epochs
        records = run.records()
        ended = [record for record in records if record.ended]
        self._ended = Counter(record.state for record in ended)
        self._ended_epochs = [record.last_epoch for record in ended]
        best = best_of(records)
        self._best = (best.best_val_loss, f"trial {best.number} {describe(best.params)}") if best else None
        self._running: dict[int, int] = {}
        self._said_no_gpu = False
        self._epochs, self._began, self._renewed = 0, time.monotonic(), time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks for a restore that is not used here."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook."""
        self._running.setdefault(trial.config[names.NUMBER], 0)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Ray's hook."""
        if names.FAILURE in result or names.FAULT in result:
            return
        self._say_if_no_gpu(trial, result)
        number, params = trial.config[names.NUMBER], trial.config["params"]
        self._running[number] = result[names.EPOCH]
        self._epochs += 1
        if self._best is None or result[names.BEST_VAL_LOSS] < self._best[0]:
            self._best = (result[names.BEST_VAL_LOSS], f"trial {number} {describe(params)}")
        self._renew()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook."""
        result = trial.last_result or {}
        if names.FAULT in result:
            return
        if names.FAILURE in result:
            self._end(trial, names.FAILED, result[names.FAILURE])
        else:
            complete = result.get(names.EPOCH, 0) >= self._length
            loss = f"{result[names.BEST_VAL_LOSS]:,.2f} at epoch {result[names.BEST_EPOCH]}"
            self._end(trial, names.COMPLETE if complete else names.PRUNED, loss)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Ray's hook."""
        self._end(trial, names.FAILED, "crashed, see its error.txt")

    def close(self) -> None:
        """Ends the line that renews itself."""
        if self._live:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _say_if_no_gpu(self, trial: Trial, result: dict[str, Any]) -> None:
        if trial.config["job"]["gpu"] and result.get(names.DEVICE) == "cpu" and not self._said_no_gpu:
            self._said_no_gpu = True
            node = result.get("hostname", "a node")
            self._stream.write(f"trials have a share of a GPU, but torch finds none on {node}: they train on the CPU\n")

    def _end(self, trial: Trial, state: str, what: str) -> None:
        number, params = trial.config[names.NUMBER], trial.config["params"]
        self._ended[state] += 1
        epochs = self._running.pop(number, 0)
        self._ended_epochs.append(epochs)
        text = f"trial {number:>3} {state:<8} after {epochs:>3} epochs: {what}   {describe(params)}"
        self._stream.write(f"\r\033[K{text}\n" if self._live else f"{text}   [{self._summary()}]\n")
        self._stream.flush()

    def _renew(self) -> None:
        if time.monotonic() - self._renewed >= (RENEW_S if self._live else LOG_S):
            self._renewed = time.monotonic()
            self._stream.write(f"\r\033[K{self._summary()}" if self._live else f"{self._summary()}\n")
            self._stream.flush()

    def _summary(self) -> str:
        done = sum(self._ended.values())
        parts = [
            f"{done}/{self._trials} trials",
            f"{len(self._running)} running",
            f"{self._ended[names.PRUNED]} pruned",
        ]
        if self._ended[names.FAILED]:
            parts.append(f"{self._ended[names.FAILED]} failed")
        if self._best:
            parts.append(f"best {self._best[0]:,.2f} ({self._best[1]})")
        rate = self._epochs / (time.monotonic() - self._began)
        parts.append(f"{rate:.2g} epochs/s")
        left = epochs_left(self._trials, self._length, self._ended_epochs, self._running.values())
        if rate and left is not None:
            parts.append(f"about {duration(left / rate)} left")
        return ", ".join(parts)
