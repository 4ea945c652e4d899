"""Search progress: one self-updating line on a terminal, or one line per finished trial in a log file."""

import sys
import time
from collections import Counter
from typing import TextIO

from resvae_ray import names
from resvae_ray.config import PROMOTE
from resvae_ray.progress import duration
from resvae_ray.search.callbacks.listener import Listener
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.status import epochs_left, promoting_epochs_left
from resvae_ray.search.run.trainings import best_of
from resvae_ray.search.space import describe
from resvae_ray.search.worker_report import Epoch, Failed, TrainingTask

RENEW_S = 1.0  # of the line on a terminal
LOG_S = 300.0  # between two lines in a log file while no trial ends


class ConsoleProgress(Listener):
    """Prints the progress of a search.

    Args:
        run: the search, with the record of earlier sessions.
        gpu: whether each trial has a share of a GPU.
        stream: where to write.
    """

    def __init__(self, run: Run, gpu: bool, stream: TextIO | None = None) -> None:
        super().__init__(run.config.training)
        self._config, self._gpu, self._stream = run.config, gpu, stream or sys.stderr
        self._live = self._stream.isatty()
        self._trials = run.config.search.most_trials
        records = run.records()
        ended = [record for record in records if record.ended]
        self._ended = Counter(record.state for record in ended)
        self._ended_epochs = [record.last_epoch for record in ended]
        best = best_of(records)
        self._best = (best.best_val_loss, f"trial {best.number} {describe(best.params)}") if best else None
        self._paused = {record.number: record.last_epoch for record in records if record.state == names.PAUSED}
        self._running: dict[int, int] = {}
        self._said_no_gpu = False
        self._epochs, self._began, self._renewed = 0, time.monotonic(), time.monotonic()

    def started(self, task: TrainingTask) -> None:
        self._running.setdefault(task.number, self._paused.pop(task.number, 0))

    def epoch_ended(self, task: TrainingTask, epoch: Epoch) -> None:
        self._say_if_no_gpu(epoch)
        self._running[task.number] = epoch.epoch
        self._epochs += 1
        if self._best is None or epoch.best_val_loss < self._best[0]:
            self._best = (epoch.best_val_loss, f"trial {task.number} {describe(task.params)}")
        self._renew()

    def ended(self, task: TrainingTask, last: Epoch | Failed | None) -> None:
        if isinstance(last, Failed):
            self._end(task, names.FAILED, last.reason)
        elif last is not None:
            state = names.COMPLETE if last.ends(self.training) else names.PRUNED
            self._end(task, state, _lowest(last))

    def paused(self, task: TrainingTask, last: Epoch) -> None:
        self._paused[task.number] = self._running.pop(task.number, 0)
        self._say(task, names.PAUSED, last.epoch, _lowest(last))

    def crashed(self, task: TrainingTask, errors: str) -> None:
        self._end(task, names.FAILED, "crashed, see its error.txt")

    def close(self) -> None:
        """Clears the self-updating line."""
        if self._live:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _say_if_no_gpu(self, epoch: Epoch) -> None:
        if self._gpu and epoch.device == "cpu" and not self._said_no_gpu:
            self._said_no_gpu = True
            node = epoch.node or "a node"
            self._stream.write(f"trials have a share of a GPU, but torch finds none on {node}: they train on the CPU\n")

    def _end(self, task: TrainingTask, state: str, what: str) -> None:
        self._ended[state] += 1
        epochs = self._running.pop(task.number, 0)
        self._ended_epochs.append(epochs)
        self._say(task, state, epochs, what)

    def _say(self, task: TrainingTask, state: str, epochs: int, what: str) -> None:
        text = f"trial {task.number:>3} {state:<8} after {epochs:>3} epochs: {what}   {describe(task.params)}"
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
            *([f"{len(self._paused)} paused"] if self._config.search.scheduler == PROMOTE else []),
            f"{self._ended[names.PRUNED]} pruned",
        ]
        if self._ended[names.FAILED]:
            parts.append(f"{self._ended[names.FAILED]} failed")
        if self._best:
            parts.append(f"best {self._best[0]:,.2f} ({self._best[1]})")
        rate = self._epochs / (time.monotonic() - self._began)
        parts.append(f"{rate:.2g} epochs/s")
        left = self._epochs_left()
        if rate and left is not None:
            parts.append(f"about {duration(left / rate)} left")
        return ", ".join(parts)

    def _epochs_left(self) -> float | None:
        if self._config.search.scheduler == PROMOTE:
            trained = sum([*self._ended_epochs, *self._paused.values(), *self._running.values()])
            return promoting_epochs_left(self._config, trained, len(self._running))
        return epochs_left(self._trials, self.training.epochs, self._ended_epochs, self._running.values())


class FinalistsProgress(Listener):
    """Prints a line for each retraining of a finalist that ends.

    Args:
        trainings: the number left.
        stream: where to write.
    """

    def __init__(self, run: Run, trainings: int, stream: TextIO | None = None) -> None:
        super().__init__(run.config.training)
        self._seeds = run.config.search.seeds
        self._left, self._stream = trainings, stream or sys.stderr

    def ended(self, task: TrainingTask, last: Epoch | Failed | None) -> None:
        if isinstance(last, Failed):
            self._say(task, f"failed: {last.reason}")
        elif last is not None and last.ends(self.training):
            self._say(task, _lowest(last))

    def crashed(self, task: TrainingTask, errors: str) -> None:
        self._say(task, f"failed: {errors.splitlines()[-1]}")

    def _say(self, task: TrainingTask, what: str) -> None:
        self._left -= 1
        self._stream.write(
            f"finalist trial {task.number}, seed {(task.repeat or 0) + 1} of {self._seeds}: {what}   "
            f"{describe(task.params)}   [{self._left} left]\n"
        )
        self._stream.flush()


def _lowest(report: Epoch) -> str:
    return f"{report.best_val_loss:,.2f} at epoch {report.best_epoch}"
