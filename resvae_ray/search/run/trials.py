"""What a search has recorded of its trials: the study's journal and epochs.jsonl, read without writing anything."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from resvae_ray import names
from resvae_ray.errors import DataError, first_line
from resvae_ray.files.place import Place
from resvae_ray.model.checkpoint import newest_best
from resvae_ray.model.tensor_file import read_state

STATES = {
    TrialState.WAITING: names.PENDING,
    TrialState.RUNNING: names.RUNNING,
    TrialState.COMPLETE: names.COMPLETE,
    TrialState.PRUNED: names.PRUNED,
    TrialState.FAIL: names.FAILED,
}
ENDED = (names.COMPLETE, names.PRUNED, names.FAILED)

COUNTED = (names.REPEAT, names.NUMBER, names.EPOCH)  # of an epoch's row, whole numbers; only finalists have the first
MEASURED = (names.VAL_LOSS, names.SECONDS, names.TIME)  # what every row has

EpochRow = dict[str, Any]
AnyPlace = TypeVar("AnyPlace", Path, Place)


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        state: pending, running, complete, pruned or failed.
        epochs: all that it reported, in order.
        failure: why it failed.
    """

    number: int
    state: str
    params: dict[str, Any]
    epochs: list[EpochRow] = field(default_factory=list)
    failure: str | None = None

    @property
    def best(self) -> EpochRow | None:
        """The epoch with the lowest validation loss."""
        return min(self.epochs, key=lambda row: row[names.VAL_LOSS], default=None)

    @property
    def best_val_loss(self) -> float | None:
        """The lowest validation loss."""
        return self.best[names.VAL_LOSS] if self.best else None

    @property
    def last_epoch(self) -> int:
        """How far it came; 0 before its first report."""
        return self.epochs[-1][names.EPOCH] if self.epochs else 0

    def row(self) -> dict[str, Any]:
        """The trial as trials.csv has it."""
        return {
            names.NUMBER: self.number,
            names.STATE: self.state,
            **self.params,
            names.BEST_VAL_LOSS: self.best_val_loss,
            names.BEST_EPOCH: self.best[names.EPOCH] if self.best else None,
            names.EPOCHS: self.last_epoch,
            names.SECONDS: sum(row[names.SECONDS] for row in self.epochs),
            names.NODE: self.epochs[-1][names.NODE] if self.epochs else None,
            names.FAILURE: self.failure,
        }


@dataclass(frozen=True)
class BestTrial:
    """The lowest validation loss of a search, and where it was seen."""

    number: int
    params: dict[str, Any]
    best_val_loss: float
    best_epoch: int


def best_of(records: list[TrialRecord]) -> BestTrial | None:
    """The lowest validation loss of these trials."""
    reported = [record for record in records if record.best]
    if not reported:
        return None
    first = min(reported, key=lambda record: record.best_val_loss or 0.0)
    row = first.row()
    return BestTrial(first.number, first.params, row[names.BEST_VAL_LOSS], row[names.BEST_EPOCH])


def record_of(records: Sequence[TrialRecord], number: int, where: object) -> TrialRecord:
    """The trial of that number.

    Args:
        where: what names it, for the message.

    Raises:
        DataError: the study does not know it.
    """
    found = next((record for record in records if record.number == number), None)
    if found is None:
        raise DataError(f"{where}: tells of trial {number}, which the study does not know")
    return found


def read_trials(folder: Path, study_name: str) -> list[TrialRecord]:
    """The trials of the RUN in `folder`, by number."""
    epochs = defaultdict(list)
    for row in read_epochs(folder / names.EPOCHS_FILE):
        epochs[row[names.NUMBER]].append(row)
    return [
        TrialRecord(
            trial.number,
            STATES[trial.state],
            trial.params,
            epochs[trial.number],
            _reason(trial_folder(folder, trial.number)) if trial.state == TrialState.FAIL else None,
        )
        for trial in frozen_trials(folder / names.JOURNAL_FILE, study_name)
    ]


def read_epochs(path: Path) -> list[EpochRow]:
    """The epochs reported, by trial (and retraining) and epoch; of an epoch that was repeated, the last report.

    Raises:
        DataError: a line is no report.
    """
    rows: dict[tuple[int, int, int], EpochRow] = {}
    content = path.read_bytes() if path.exists() else b""
    # What follows the last line's end is still being written.
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        row = _parsed(line, f"{path}: line {number}")
        rows[row[names.NUMBER], row.get(names.REPEAT, 0), row[names.EPOCH]] = row
    return [rows[key] for key in sorted(rows)]


@dataclass(frozen=True)
class SavedWeights:
    """The weights of a trial's best epoch, as they are on the disk."""

    number: int
    path: Path
    epoch: int
    val_loss: float


def read_saved(folder: Path) -> list[SavedWeights]:
    """The newest weights of each trial of the RUN in `folder`, the best first."""
    found = [saved_weights(number, trial) for number, trial in trial_folders(folder).items()]
    saved = [weights for weights in found if weights is not None]
    return sorted(saved, key=lambda weights: (weights.val_loss, weights.number))


def saved_weights(number: int, folder: Path) -> SavedWeights | None:
    """The newest weights of trial `number` that a training has saved in `folder`."""
    if (path := newest_best(folder)) is None:
        return None
    metrics = read_state(path)["metrics"]
    return SavedWeights(number, path, int(metrics[names.EPOCH]), metrics[names.VAL_LOSS])


def frozen_trials(journal: Path, study_name: str) -> list[FrozenTrial]:
    """Optuna's record of the trials, by number."""
    if not journal.exists():
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with reading_journal(journal):
        storage = JournalStorage(JournalFileBackend(str(journal)))
        found = [study for study in storage.get_all_studies() if study.study_name == study_name]
        return storage.get_all_trials(found[0]._study_id) if found else []


@contextmanager
def reading_journal(journal: Path) -> Iterator[None]:
    """
    Raises:
        DataError: Optuna cannot read the journal; nothing in it is code.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # whatever a damaged line makes Optuna raise
        kind = type(error).__name__
        raise DataError(f"{journal}: the study's journal is damaged ({kind}: {first_line(error)})") from None


def trial_folder(run: AnyPlace, number: int) -> AnyPlace:
    """Where a trial of the RUN keeps its weights and, if it failed, the reason."""
    return run / names.TRIALS_FOLDER / names.TRIAL_FOLDER.format(number=number)


def trial_folders(run: Path) -> dict[int, Path]:
    """The folders of the trials that have one, by number."""
    found = (run / names.TRIALS_FOLDER).glob("*")
    return {int(folder.name): folder for folder in sorted(found) if folder.name.isdigit()}


def _reason(folder: Path) -> str:
    path = folder / names.ERROR_FILE
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "unknown"


def _parsed(line: bytes, where: str) -> EpochRow:
    """A line of epochs.jsonl.

    Raises:
        DataError: it is damaged.
    """
    try:
        row = json.loads(line)
        whole = isinstance(row, dict) and all(type(row.get(name, 0)) is int for name in COUNTED)
        if (
            whole
            and names.NODE in row
            and all(isinstance(row[name], float | int) for name in (*COUNTED[1:], *MEASURED))
        ):
            return row
    except (ValueError, KeyError, RecursionError):
        pass
    raise DataError(f"{where}: it is damaged; remove the line, and the epoch that it told of is not known")
