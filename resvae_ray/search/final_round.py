"""The final round: the finalists of a search are trained again, each under several seeds, all to the full length.

Their matrix products are float32, also where the search rounds them to bfloat16.
"""

import sys
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

from ray.tune.search import Searcher

from resvae_ray import names
from resvae_ray.config import FLOAT32
from resvae_ray.search.callbacks.console import FinalistsProgress
from resvae_ray.search.callbacks.recorder import Recorder, Sender, clear_staging, forget_resume
from resvae_ray.search.callbacks.tensorboard import TensorBoard, board_of
from resvae_ray.search.ray_tune.experiment import run_experiment
from resvae_ray.search.resources import Slots
from resvae_ray.search.run.finalists import Finalist, left_to_train, write_choice
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import TrainingRecord, training_folder
from resvae_ray.search.trial import TrainingJob, run_training
from resvae_ray.search.worker_report import TrainingTask, task_of


def train_finalists(run: Run, job: TrainingJob, slots: Slots, seconds: float | None) -> bool:
    """Trains the remaining finalist retrainings and chooses the winner. Returns whether the user stopped it.

    Args:
        seconds: time limit, or None for no limit.

    Raises:
        JobError: a fault affects all trainings.
    """
    finalists = run.finalists()
    job = replace(job, training=job.training | {"matmul": FLOAT32})
    repeats = left_to_train(finalists)
    _tidy(run, finalists)
    stopped = _train(run, job, slots, seconds, repeats) if repeats else False
    write_choice(run.path, run.finalists())
    return stopped


def _train(run: Run, job: TrainingJob, slots: Slots, seconds: float | None, repeats: list[TrainingRecord]) -> bool:
    print(f"finalists: {len(repeats)} trainings left, {slots.concurrent} at a time", file=sys.stderr)
    with closing(Recorder(run)) as recorder:
        return run_experiment(
            run,
            run_training,
            {"job": asdict(job)},
            slots,
            name_of=lambda trial: board_of(task_of(trial.config)).folder,
            callbacks=[recorder, TensorBoard(run), FinalistsProgress(run, len(repeats)), Sender(run)],
            seconds=seconds,
            search_alg=Retrainings(repeats),
            num_samples=len(repeats),
        )


class Retrainings(Searcher):
    """Proposes the retrainings of finalists, one after another."""

    def __init__(self, repeats: Sequence[TrainingRecord]) -> None:
        super().__init__(metric=names.BEST_VAL_LOSS, mode="min")
        self._tasks = deque(TrainingTask(repeat.number, repeat.params, repeat.repeat) for repeat in repeats)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Ray's hook: the retrainings are already fixed."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Ray's hook: the next retraining."""
        return self._tasks.popleft().as_config() if self._tasks else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Ray's hook: nothing depends on it."""

    def save(self, checkpoint_path: str) -> None:
        """Ray's hook: nothing to save, the RUN is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Ray's hook: a round is resumed from the RUN, never from Ray's snapshot."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Ray's hook: see `save`."""


def _tidy(run: Run, finalists: Sequence[Finalist]) -> None:
    """Removes files that killed processes left."""
    for repeat in (repeat for finalist in finalists for repeat in finalist.repeats):
        clear_staging(training_folder(run.path, repeat.number, repeat.repeat))
        if repeat.ended:
            forget_resume(training_folder(run.where, repeat.number, repeat.repeat))
