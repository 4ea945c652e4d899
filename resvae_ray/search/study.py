"""The study of a search as Optuna has it: the journal in a RUN, opened to propose trials or to draw them."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from resvae_ray.config import PROMOTE, Config, Domain, TrainingConfig, field_type
from resvae_ray.errors import UsageError
from resvae_ray.files.atomic import cut_torn_line
from resvae_ray.search.run.journal import damaged, is_paused
from resvae_ray.search.space import combinations, first_proposal


def open_study(journal: Path, study_name: str) -> optuna.Study:
    """Opens or creates the study of a RUN. Only this process may write to it.

    Raises:
        DataError: the journal is damaged.
    """
    cut_torn_line(journal)
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _reading(journal):
        storage = JournalStorage(JournalFileBackend(str(journal)))
        return optuna.create_study(study_name=study_name, storage=storage, direction="minimize", load_if_exists=True)


def start_study(study: optuna.Study, config: Config, earlier: Sequence[dict[str, Any]] = ()) -> None:
    """Enqueues the first proposals of a new study: all choices of the space, if there are enough trials.

    Args:
        earlier: the best proposals of an earlier search, which come before others.
    """
    # A process that was killed here may have enqueued some of them.
    if any(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False)):
        return
    first = [first_proposal(config)] if config.search.try_first else []
    for proposal in [*first, *earlier, *combinations(config)]:
        study.enqueue_trial(proposal, skip_if_exists=True)


def unfinished(study: optuna.Study) -> list[int]:
    """The numbers of the trials that began, did not end, and are not paused."""
    return [trial.number for trial in _open_trials(study) if not is_paused(trial.user_attrs)]


def paused(study: optuna.Study) -> list[int]:
    """The numbers of the trials that are paused."""
    return [trial.number for trial in _open_trials(study) if is_paused(trial.user_attrs)]


def reopened(journal: Path, study_name: str, config: Config) -> str:
    """The name of the study that a longer search continues.

    In a search that promotes, the trials that were paused at its end may be promoted by new ones. Optuna cannot reopen
    a trial that has ended. So the journal gets a copy of the study, in which these trials are paused again.

    Raises:
        DataError: the journal is damaged.
    """
    if config.search.scheduler != PROMOTE:
        return study_name
    study = open_study(journal, study_name)
    trials = study.get_trials(deepcopy=False)
    begun = sum(trial.state != TrialState.WAITING for trial in trials)
    if begun >= config.search.most_trials or not any(_was_paused(trial) for trial in trials):
        return study_name
    longer = optuna.create_study(study_name=new_study_name(), storage=study._storage, direction="minimize")
    longer.add_trials([_paused_again(trial) if _was_paused(trial) else trial for trial in trials])
    return longer.study_name


def new_study_name() -> str:
    """A name that no other study has."""
    return f"resvae-{uuid.uuid4().hex[:12]}"


def _was_paused(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.PRUNED and is_paused(trial.user_attrs)


def _paused_again(trial: FrozenTrial) -> FrozenTrial:
    again = copy(trial)
    again.state, again.values, again.datetime_complete = TrialState.RUNNING, None, None
    return again


def _open_trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[TrialState.RUNNING])


def frozen_trials(journal: Path, study_name: str) -> list[FrozenTrial]:
    """Optuna's record of the trials, by number; nothing is written.

    Raises:
        DataError: the journal is damaged.
    """
    if not journal.exists():
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _reading(journal):
        storage = JournalStorage(JournalFileBackend(str(journal)))
        if study_name not in [study.study_name for study in storage.get_all_studies()]:
            return []
        return optuna.load_study(study_name=study_name, storage=storage).get_trials(deepcopy=False)


def distributions(config: Config) -> dict[str, BaseDistribution]:
    """The space as Optuna's distributions; a field that is whole in TrainingConfig is proposed whole."""
    return {name: _distribution(name, domain) for name, domain in config.space.items()}


@contextmanager
def _reading(journal: Path) -> Iterator[None]:
    """
    Raises:
        DataError: Optuna cannot read the journal; nothing in it is code.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # a damaged line makes Optuna raise various exceptions
        raise damaged(journal, error) from None


def _distribution(name: str, domain: Domain) -> BaseDistribution:
    if domain.choices:
        return CategoricalDistribution(list(domain.choices))
    low, high = domain.low, domain.high
    if low is None or high is None:
        raise UsageError(f"space.{name}: needs low and high, or choices")
    if field_type(TrainingConfig, name) is int:
        return IntDistribution(int(low), int(high), log=domain.log)
    return FloatDistribution(low, high, log=domain.log)
