"""RUN: the folder in which a search keeps all that it knows, and what can be read from it, while it runs and after.

    run = Run.open("run")
    run.trials()          # a DataFrame, a row a trial
    run.epochs()          # a DataFrame, a row an epoch and trial
    run.status()          # counts, the best so far, the trials under way

The study's journal and epochs.jsonl are the record. Everything else (trials.csv, best.csv, model/) is made from them.
"""

import fcntl
import logging
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from resvae_ray import names
from resvae_ray.config import Config, TrainingConfig, field_type
from resvae_ray.config_file import config_from_dict, config_to_dict, config_to_toml
from resvae_ray.data.dataset import Dataset
from resvae_ray.errors import DataError, UsageError
from resvae_ray.search.records import STATES, TrialRecord, read_epochs, read_saved, read_trials
from resvae_ray.search.shown import as_html, as_line
from resvae_ray.storage import local_target, read_json, refuse_existing, staged_file, write_json, write_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BestTrial:
    """The lowest validation loss of a search, and where it was seen."""

    number: int
    params: dict[str, Any]
    best_val_loss: float
    best_epoch: int


@dataclass(frozen=True, repr=False)
class Run:
    """A RUN folder.

    Attributes:
        path: the folder.
        info: run.json.
        config: the resolved configuration.
    """

    path: Path
    info: dict[str, Any]
    config: Config

    @classmethod
    def create(cls, path: str | Path, config: Config, dataset: Dataset, about: dict[str, Any]) -> "Run":
        """Makes the folder with run.json; nothing has started then.

        Args:
            about: the study's name and whatever else is worth knowing later.

        Raises:
            UsageError: the folder holds something already.
        """
        folder = local_target(path)
        refuse_existing_run(folder)
        content = {
            **about,
            "config": config_to_dict(config),
            "dataset": {**asdict(dataset), "path": str(dataset.path)},
            "sessions": [],
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / names.RUN_FILE, content)
        return cls.open(folder)

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """
        Raises:
            DataError: no RUN there.
        """
        folder = local_target(path)
        if not (folder / names.RUN_FILE).is_file():
            raise DataError(f"{folder}: no RUN: it has no {names.RUN_FILE}; `resvae-ray tune` makes one")
        info = read_json(folder / names.RUN_FILE)
        try:
            for key in ("study", "dataset", "sessions"):
                info[key]
            return cls(folder, info, config_from_dict(info["config"]))
        except (KeyError, TypeError, UsageError) as error:
            raise DataError(f"{folder / names.RUN_FILE}: not a run of this version: {error}") from None

    def begin_session(self, config: Config, dataset: Dataset, session: dict[str, Any]) -> "Run":
        """Writes down that the search is taken up with `config`, before it is."""
        info = {
            **self.info,
            "config": config_to_dict(config),
            "dataset": {**asdict(dataset), "path": str(dataset.path)},
            "sessions": [*self.info["sessions"], session],
        }
        write_text(self.path / names.SEARCH_FILE, config_to_toml(config))
        write_json(self.path / names.RUN_FILE, info)
        return replace(self, info=info, config=config)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the right to write in this folder; ends with the process, however that ends.

        Raises:
            UsageError: another process holds it.
        """
        with (self.path / names.LOCK_FILE).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise UsageError(f"{self.path}: a search is running in it ({file.read().strip()})") from None
            except OSError as error:
                logger.warning("%s: no file locks here (%s); see to it that only one search runs", self.path, error)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield

    def is_locked(self) -> bool:
        """Whether a search is running in this folder now."""
        try:
            with (self.path / names.LOCK_FILE).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except BlockingIOError:
            return True
        except OSError:
            return False

    def records(self) -> list[TrialRecord]:
        """All that is recorded of the trials, by number."""
        return read_trials(self.path, self.info["study"])

    def epochs(self) -> pd.DataFrame:
        """All epochs reported, a row each, by trial and epoch; of an epoch that was repeated, the last report."""
        return pd.DataFrame(read_epochs(self.path / names.EPOCHS_FILE))

    def trials(self) -> pd.DataFrame:
        """A row a trial: number, state, parameters, best loss and epoch, epochs, seconds, node, reason of a failure."""
        return self._table(self.records())

    def best(self) -> BestTrial | None:
        """The lowest validation loss that any trial reported at any epoch."""
        return best_of(self.records())

    def saved_best(self) -> BestTrial | None:
        """The lowest validation loss whose weights are saved: what `export` takes.

        It is `best` but where a trial that was cut off came lower after its last checkpoint.
        """
        params = {record.number: record.params for record in self.records()}
        for weights in read_saved(self.path):
            return BestTrial(weights.number, params[weights.number], weights.val_loss, weights.epoch)
        return None

    def lost_best(self) -> str | None:
        """A sentence about a reported loss that is lower than any saved one, if there is such a loss."""
        best, saved = self.best(), self.saved_best()
        if best is None or (saved is not None and saved.best_val_loss <= best.best_val_loss):
            return None
        state = next(record.state for record in self.records() if record.number == best.number)
        ends = "tune --resume gets it back" if state == names.RUNNING else "it is lost"
        return (
            f"trial {best.number} had {best.best_val_loss:,.2f} in epoch {best.best_epoch} and was cut off "
            f"before it saved that; {ends}"
        )

    def status(self) -> dict[str, Any]:
        """What `resvae-ray status --json` prints."""
        records, alive = self.records(), self.is_locked()
        counts = self._counts(records, alive)
        best = best_of(records)
        running = [record for record in records if alive and record.state == names.RUNNING]
        times = sorted(row[names.TIME] for record in records for row in record.epochs)
        left = counts[names.PENDING] + counts[names.RUNNING]
        return {
            "state": "running" if alive else "interrupted" if left else "finished",
            "counts": counts,
            "best": asdict(best) if best else None,
            "running": [
                {name: record.row()[name] for name in (names.NUMBER, names.EPOCHS, names.BEST_VAL_LOSS, names.NODE)}
                for record in running
            ],
            "failures": [
                {names.NUMBER: record.number, names.FAILURE: record.failure}
                for record in records
                if record.state == names.FAILED
            ],
            "epochs": len(times),
            "epochs_per_s": _rate(times[-self.config.training.epochs :]) if alive else None,
            "seconds": sum(record.row()[names.SECONDS] for record in records),
        }

    def __repr__(self) -> str:
        return as_line(self.path, self.status())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return as_html(self.path, self.status())

    def write_tables(self) -> None:
        """trials.csv, trials.parquet and best.csv, each replaced in one step."""
        records = self.records()
        trials = self._table(records)
        with staged_file(self.path / names.TRIALS_CSV) as staging:
            trials.to_csv(staging, index=False)
        with staged_file(self.path / names.TRIALS_PARQUET) as staging:
            trials.to_parquet(staging, index=False)
        if (best := self.saved_best()) is not None:
            with staged_file(self.path / names.BEST_CSV) as staging:
                self.result_table(best).to_csv(staging, index=False)

    def result_table(self, best: BestTrial) -> pd.DataFrame:
        """The result table of the paper, with this search's best in it."""
        training = replace(self.config.training, **best.params)
        row = {
            "model": self.config.name,
            "z_dim": training.z_dim,
            "hidden_dim": training.hidden_dim,
            "learning_rate": training.lr,
            "eval_loss": best.best_val_loss,
            "loss_type": training.loss_type,
            "epoch": best.best_epoch,
            "input_dim": self.info["dataset"]["dim"],
        }
        return pd.DataFrame([row])

    def _counts(self, records: list[TrialRecord], alive: bool) -> dict[str, int]:
        """Trials by state; of a search that is not running, the unfinished ones are pending."""
        found = Counter(record.state for record in records)
        unasked = max(0, self.config.search.trials - len(records))
        counts = {state: found[state] for state in STATES.values()}
        counts[names.PENDING] += unasked
        if not alive:
            counts[names.PENDING] += counts[names.RUNNING]
            counts[names.RUNNING] = 0
        return counts

    def _table(self, records: list[TrialRecord]) -> pd.DataFrame:
        columns = list(TrialRecord(0, "", dict.fromkeys(self.config.space)).row())
        whole = [name for name in self.config.space if field_type(TrainingConfig, name) is int]
        kinds = dict.fromkeys([names.NUMBER, *whole, names.BEST_EPOCH, names.EPOCHS], "Int64")
        return pd.DataFrame([record.row() for record in records], columns=columns).astype(kinds)


def best_of(records: list[TrialRecord]) -> BestTrial | None:
    """The lowest validation loss of these trials."""
    reported = [record for record in records if record.best]
    if not reported:
        return None
    first = min(reported, key=lambda record: record.best_val_loss or 0.0)
    row = first.row()
    return BestTrial(first.number, first.params, row[names.BEST_VAL_LOSS], row[names.BEST_EPOCH])


def refuse_existing_run(folder: Path) -> None:
    """
    Raises:
        UsageError: the folder holds a run, or anything else.
    """
    if (folder / names.RUN_FILE).exists():
        raise UsageError(f"{folder}: holds a run already; --resume goes on with it, or choose another folder")
    refuse_existing(folder)


def _rate(times: list[float]) -> float | None:
    """Reports a second."""
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None
