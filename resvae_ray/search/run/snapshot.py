"""The record of a RUN, read once. Tables, status, report and finalists are built from a `Snapshot`.

    reader = SnapshotReader(Path("run"), study="resvae-0123")
    reader.read()         # a Snapshot; the next one reads only what was added since

The record is the study's journal, epochs.jsonl, the results of retrainings and the choice among the finalists. A search
asks its own RUN again at the end of each trial, so the cost of an answer depends on what is new and not on the past.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resvae_ray import names
from resvae_ray.config import AUTO, SearchConfig
from resvae_ray.errors import DataError
from resvae_ray.files.atomic import read_json
from resvae_ray.search.run.epoch_log import Curve, EpochReader, Key
from resvae_ray.search.run.journal import JournalReader, Proposal
from resvae_ray.search.run.trainings import (
    SavedWeights,
    TrainingRecord,
    failure_in,
    saved_weights,
    training_folder,
    trial_entries,
)

UNKNOWN = "unknown"  # a failure without a recorded reason
NO_EPOCH = Curve()


@dataclass(frozen=True)
class Snapshot:
    """A RUN at one moment.

    Attributes:
        trials: by number.
        curves: the epochs of retrainings, by trial and repeat.
        results: the results of ended retrainings, as in result.json, by trial and repeat.
        choice: the last chosen finalist, as in choice.json; None before a choice.
        enough: why a search with `--trials auto` has ended; None if it has not.
    """

    trials: list[TrainingRecord] = field(default_factory=list)
    curves: Mapping[Key, Curve] = field(default_factory=dict)
    results: Mapping[Key, dict[str, Any]] = field(default_factory=dict)
    choice: dict[str, Any] | None = None
    enough: str | None = None

    def wanted(self, search: SearchConfig) -> int:
        """The number of trials that the search comes to, at most; of one that has ended by itself, those that began."""
        if self.enough is None or search.trials != AUTO:
            return search.most_trials
        return sum(trial.state != names.PENDING for trial in self.trials)

    def retraining(self, trial: TrainingRecord, repeat: int) -> TrainingRecord:
        """A retraining of a finalist, begun or not."""
        key = (trial.number, repeat)
        curve, result = self.curves.get(key, Curve()), self.results.get(key)
        if result is None:
            state = names.RUNNING if curve.epochs else names.PENDING
            return TrainingRecord(trial.number, state, trial.params, curve, None, repeat)
        failure = result.get(names.FAILURE)
        state = names.COMPLETE if failure is None else names.FAILED
        loss = None if failure else result.get(names.BEST_VAL_LOSS)
        return TrainingRecord(trial.number, state, trial.params, curve, failure, repeat, loss)


class SnapshotReader:
    """Reads a RUN without writing anything, and remembers what it has read."""

    def __init__(self, folder: Path, study: str) -> None:
        self._folder = folder
        self._journal = JournalReader(folder / names.JOURNAL_FILE, study)
        self._epochs = EpochReader(folder / names.EPOCHS_FILE)
        self._retrained = EpochReader(folder / names.FINALISTS_FOLDER / names.EPOCHS_FILE)  # of version 0.1.0
        self._trials: list[TrainingRecord] = []
        self._outdated: set[int] = set()  # trials whose record must be made anew
        self._sources = (self._epochs.curves, self._journal.proposals)
        self._saved: dict[int, tuple[int, SavedWeights]] = {}  # with the time of the folder

    def read(self) -> Snapshot:
        """
        Raises:
            DataError: the record is damaged; it says where.
        """
        # The journal comes first, since a search writes it last: a trial that has ended in it has all its epochs.
        self._outdated |= self._journal.refresh()
        self._retrained.refresh()
        self._outdated |= {number for number, repeat in self._epochs.refresh() if repeat is None}
        self._renew()
        enough = self._journal.attributes.get(names.ENOUGH)
        return Snapshot(list(self._trials), self._retrainings(), self._results(), self._choice(), enough)

    def _renew(self) -> None:
        """Makes the outdated records anew, or all of them if a file was replaced."""
        curves, proposals = self._epochs.curves, self._journal.proposals
        if self._sources[0] is not curves or self._sources[1] is not proposals:
            self._sources, self._trials, self._outdated = (curves, proposals), [], set(range(len(proposals)))
        # A trial that began after the journal was read is in its next part.
        for number in sorted(number for number in self._outdated if 0 <= number < len(proposals)):
            self._trials[number : number + 1] = [self._trial(proposals[number])]
        self._outdated = {trial.number for trial in self._trials if trial.failure == UNKNOWN}

    def saved(self) -> list[SavedWeights]:
        """The newest weights of each trial that has saved some, the best first."""
        found = []
        for number, folder in trial_entries(self._folder).items():
            written = folder.stat().st_mtime_ns
            known, weights = self._saved.get(number, (0, None))
            if known != written:
                weights = saved_weights(number, Path(folder))
            if weights is None:
                continue
            found.append(weights)
            if number < len(self._trials) and self._trials[number].ended:
                self._saved[number] = (written, weights)
        return sorted(found, key=lambda weights: (weights.val_loss, weights.number))

    def _trial(self, proposal: Proposal) -> TrainingRecord:
        curve, failure = self._epochs.curves.get((proposal.number, None), NO_EPOCH), None
        if proposal.state == names.FAILED:
            failure = failure_in(training_folder(self._folder, proposal.number)) or UNKNOWN
        return TrainingRecord(proposal.number, proposal.state, dict(proposal.params), curve, failure)

    def _retrainings(self) -> dict[Key, Curve]:
        """Their epochs. Version 0.1.0 kept them in a file of their own, and a later one may have resumed them."""
        curves = dict(self._retrained.curves)
        for key, curve in self._epochs.curves.items():
            if key[1] is not None:
                curves[key] = curves[key].followed_by(curve) if key in curves else curve
        return curves

    def _results(self) -> dict[Key, dict[str, Any]]:
        found = {}
        for path in (self._folder / names.FINALISTS_FOLDER).glob(f"*/{names.RESULT_FILE}"):
            number, _, repeat = path.parent.name.partition("-")
            if number.isdigit() and repeat.isdigit():
                found[int(number), int(repeat)] = _object(path)
        return found

    def _choice(self) -> dict[str, Any] | None:
        path = self._folder / names.FINALISTS_FOLDER / names.CHOICE_FILE
        return _object(path, names.NUMBER, "seeds", "among") if path.exists() else None


def _object(path: Path, *whole: str) -> dict[str, Any]:
    """A JSON object in which the keys `whole` have whole numbers.

    Raises:
        DataError: the file holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict) or any(type(content.get(key)) is not int for key in whole):
        raise DataError(f"{path}: damaged; remove it, and `tune --resume` makes it again")
    return content
