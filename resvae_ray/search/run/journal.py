"""The study's journal, as Optuna 5.0 writes it, read without Optuna: a trial's number, state and parameters.

Optuna needs seconds to read the journal of a few thousand trials, mostly for the values per epoch, which epochs.jsonl
also contains. Optuna also rereads the whole file in every process. This reader skips those lines and, after its first
read, reads only the appended part. tests/unit/search/run/test_journal.py compares it with Optuna's own.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resvae_ray import names
from resvae_ray.errors import DataError, first_line
from resvae_ray.search.run.appended_lines import AppendedLines

CREATE_STUDY, SET_STUDY_ATTRIBUTE, CREATE_TRIAL, SET_PARAM, SET_STATE, SET_TRIAL_ATTRIBUTE = 0, 2, 4, 5, 6, 8
IGNORED = (1, 3, 7, 9, 10)  # a study is deleted, other attributes, values of epochs, trials of another library
VALUE_OF_EPOCH = re.compile(
    rb'\{"op_code":7,"worker_id":"[^"\\]*","trial_id":\d+,"step":\d+,"intermediate_value":-?\d[\d.eE+-]*\}\n'
)
STATES = (names.RUNNING, names.COMPLETE, names.PRUNED, names.FAILED, names.PENDING)  # by Optuna's number


def damaged(journal: Path, error: Exception) -> DataError:
    """The error for a journal that cannot be read because of `error`."""
    return DataError(f"{journal}: the study's journal is damaged ({type(error).__name__}: {first_line(error)})")


def is_paused(attributes: Mapping[str, Any]) -> bool:
    """Whether a trial that has not ended is paused, by its attributes in the study."""
    return attributes.get(names.PAUSED_AT) is not None and attributes[names.PAUSED_AT] == attributes.get(names.UNTIL)


@dataclass
class Proposal:
    """A trial as the journal has it.

    Attributes:
        state: pending, running, paused, complete, pruned or failed. Optuna's own record has no paused trials; they run.
        attributes: that the search has set.
    """

    number: int
    state: str
    params: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def set_attributes(self, values: dict[str, Any]) -> None:
        """Sets attributes; those of a trial that has begun say whether it is paused."""
        self.attributes |= values
        if self.state in (names.RUNNING, names.PAUSED):
            self.state = names.PAUSED if is_paused(self.attributes) else names.RUNNING

    @property
    def ended(self) -> bool:
        """Whether the trial has ended."""
        return self.state in (names.COMPLETE, names.PRUNED, names.FAILED)


class JournalReader:
    """Reads a journal that another process, or this one, may be writing.

    Attributes:
        proposals: the trials of the study, by number.
        attributes: of the study, as its user has set them.
    """

    def __init__(self, path: Path, study: str) -> None:
        self._path, self._study, self._appended = path, study, AppendedLines(path, self._forget)
        self._forget()

    def _forget(self) -> None:
        self.proposals: list[Proposal] = []
        self.attributes: dict[str, Any] = {}
        self._studies: list[str] = []
        self._trials: dict[int, Proposal | None] = {}  # of all studies, by Optuna's id
        self._distributions: dict[str, dict[str, Any]] = {}

    def refresh(self) -> set[int]:
        """Reads what was appended since the last call; the numbers of the trials that it changes.

        Raises:
            DataError: the journal is damaged.
        """
        changed: set[int] = set()
        lines = self._appended.read().splitlines(keepends=True)
        for place, line in enumerate(lines, 1):
            try:
                if VALUE_OF_EPOCH.fullmatch(line) is None and (trial := self._apply(json.loads(line))) is not None:
                    changed.add(trial.number)
            except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
                if place == len(lines) and isinstance(error, json.JSONDecodeError):
                    break  # as Optuna does: the last line may be incomplete
                self._appended.forget()
                raise damaged(self._path, error) from None
            self._appended.take(line)
        return changed

    def _apply(self, entry: dict[str, Any]) -> Proposal | None:
        """The trial that an entry changes, if it changes one of this study."""
        code = entry["op_code"]
        if code == CREATE_STUDY:
            if entry["study_name"] not in self._studies:
                self._studies.append(entry["study_name"])
        elif code == SET_STUDY_ATTRIBUTE:
            if entry["study_id"] in range(len(self._studies)) and self._studies[entry["study_id"]] == self._study:
                self.attributes |= entry["user_attr"]
        elif code == CREATE_TRIAL:
            return self._created(entry)
        elif code in (SET_PARAM, SET_STATE, SET_TRIAL_ATTRIBUTE):
            trial = self._trials.get(entry["trial_id"])
            if trial is None or trial.ended:
                return None
            if code == SET_PARAM:
                value = self._value(entry["distribution"], entry["param_value_internal"])
                trial.params[entry["param_name"]] = value
            elif code == SET_TRIAL_ATTRIBUTE:
                trial.set_attributes(entry["user_attr"])
            else:
                trial.state = STATES[entry["state"]]
            return trial
        elif code not in IGNORED:
            raise ValueError(f"unknown entry {code}")
        return None

    def _created(self, entry: dict[str, Any]) -> Proposal | None:
        if entry["study_id"] not in range(len(self._studies)):
            return None
        trial = None
        if self._studies[entry["study_id"]] == self._study:
            kinds, values = entry.get("distributions", {}), entry.get("params", {})
            params = {name: self._value(kinds[name], value) for name, value in values.items()}
            trial = Proposal(len(self.proposals), STATES[entry.get("state", 0)], params)
            trial.set_attributes(entry.get("user_attrs", {}))
            self.proposals.append(trial)
        self._trials[len(self._trials)] = trial
        return trial

    def _value(self, distribution: str, internal: float) -> Any:
        """A parameter as it was proposed; the journal keeps numbers only."""
        if distribution not in self._distributions:
            self._distributions[distribution] = json.loads(distribution)
        kind, about = (self._distributions[distribution][key] for key in ("name", "attributes"))
        if kind == "IntDistribution":
            return int(internal)
        if kind == "FloatDistribution":
            return float(internal)
        if kind == "CategoricalDistribution":
            return about["choices"][int(internal)]
        raise ValueError(f"unknown distribution {kind}")
