"""All that a RUN has to tell, read when it is asked for and then kept."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState, create_trial

from resvae_ray import names
from resvae_ray.data.dataset import Dataset
from resvae_ray.errors import DataError
from resvae_ray.evaluation.encoded_rows import Proteins, encoded
from resvae_ray.evaluation.evaluate import evaluate_model
from resvae_ray.evaluation.results import Evaluation
from resvae_ray.files.place import place
from resvae_ray.model.network import ResVAE
from resvae_ray.model.pretrained import read_model_config
from resvae_ray.search.export import best_model
from resvae_ray.search.run.finalists import Finalist, chosen_of, finalists_of
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.snapshot import Snapshot
from resvae_ray.search.run.status import Status
from resvae_ray.search.run.trainings import BestTrial, SavedWeights, TrainingRecord, best_of
from resvae_ray.search.rungs import rung_epochs
from resvae_ray.search.space import training_config
from resvae_ray.search.study import frozen_trials

MANY_FOR_RANKS = 5  # complete trials, for a rank correlation to be worth a look


@dataclass(frozen=True)
class Chosen:
    """The model that a report looks at, with where it comes from; what is not known is None."""

    model: ResVAE
    trial: int | None
    epoch: int | None
    loss: float | None


@dataclass(frozen=True)
class Findings:
    """A RUN, with what is found in it.

    Each attribute raises DataError where the RUN, its DATASET or its weights cannot be read.
    """

    run: Run

    @cached_property
    def snapshot(self) -> Snapshot:
        """All that is recorded."""
        return self.run.snapshot()

    @property
    def records(self) -> list[TrainingRecord]:
        """The trials, by number."""
        return self.snapshot.trials

    @cached_property
    def status(self) -> Status:
        """How the search stands."""
        return self.run.standing()

    @cached_property
    def model(self) -> BestTrial | None:
        """The trial whose configuration the model has, with the loss and epoch of the model's weights."""
        return self.run.saved_best()

    @cached_property
    def best(self) -> BestTrial | None:
        """The lowest loss that was reported."""
        return best_of(self.records)

    @cached_property
    def finalists(self) -> list[Finalist]:
        """The finalists: trials that were or will be retrained."""
        return finalists_of(self.snapshot, self.run.config.search)

    @cached_property
    def winner(self) -> Finalist | None:
        """The finalist that was chosen last."""
        choice = chosen_of(self.snapshot, self.run.path)
        return choice[0] if choice else None

    @property
    def retrained(self) -> list[TrainingRecord]:
        """The retrainings of finalists, as if they were trials in the state `finalist`."""
        repeats = [repeat for finalist in self.finalists for repeat in finalist.repeats]
        return [replace(repeat, state=names.FINALIST) for repeat in repeats if repeat.curve.epochs]

    @property
    def reported(self) -> list[TrainingRecord]:
        """The trials that came to an epoch."""
        return [record for record in self.records if record.best_val_loss is not None]

    def ended(self, state: str) -> list[TrainingRecord]:
        """The trials in `state` that came to an epoch."""
        return [record for record in self.reported if record.state == state]

    @cached_property
    def rungs(self) -> list[int]:
        """The epochs at which ASHA compares trials before their end."""
        return rung_epochs(self.run.config)

    @property
    def rank_correlations(self) -> dict[int, float]:
        """Spearman's correlation of the complete trials' lowest losses at each rung with those at the end, by epoch.

        Empty below MANY_FOR_RANKS complete trials. Trials that ASHA kept are a biased sample: among all proposed trials
        the correlation would be higher.
        """
        complete = self.ended(names.COMPLETE)
        if len(complete) < MANY_FOR_RANKS:
            return {}
        end = pd.Series([record.best_val_loss for record in complete]).rank()
        return {rung: float(end.corr(pd.Series(_lowest(complete, rung)).rank())) for rung in self.rungs}

    @cached_property
    def best_by_width(self) -> dict[int, SavedWeights]:
        """The saved weights of the best complete trial of each latent width, by width."""
        widths = {
            record.number: training_config(self.run.config, record.params).z_dim
            for record in self.ended(names.COMPLETE)
        }
        best: dict[int, SavedWeights] = {}
        for saved in self.run.saved():  # the lowest loss first
            if saved.number in widths:
                best.setdefault(widths[saved.number], saved)
        return dict(sorted(best.items()))

    @property
    def stopped(self) -> dict[int, int]:
        """Number of trials that ASHA stopped, by epoch."""
        return self._at_rungs(names.PRUNED)

    @property
    def waiting(self) -> dict[int, int]:
        """Number of paused trials, by epoch."""
        return self._at_rungs(names.PAUSED)

    def _at_rungs(self, state: str) -> dict[int, int]:
        return dict(sorted(Counter(record.last_epoch for record in self.ended(state)).items()))

    @property
    def epochs_saved(self) -> int:
        """The epochs that trials would have trained for, had ASHA not stopped them."""
        length = self.run.config.training.epochs
        return sum(length - record.last_epoch for record in self.ended(names.PRUNED))

    @cached_property
    def complete(self) -> optuna.Study:
        """The complete trials with their best losses, as a study in memory."""
        return _study([trial for trial in self._frozen.values() if trial.state == TrialState.COMPLETE])

    def study_at(self, epoch: int | None) -> optuna.Study:
        """Each trial that came to `epoch` with the lowest loss it had until then; without one, all at their best.

        Optuna's plots leave out what is not COMPLETE: here all are, so that pruned trials can be seen too.
        """
        trials = []
        for record in self.reported:
            losses = [row[names.VAL_LOSS] for row in record.epochs if epoch is None or row[names.EPOCH] <= epoch]
            if losses and (epoch is None or record.last_epoch >= epoch):
                found = self._frozen[record.number]
                trials.append(create_trial(params=found.params, distributions=found.distributions, value=min(losses)))
        return _study(trials)

    @cached_property
    def _frozen(self) -> dict[int, FrozenTrial]:
        _ = self.records  # read first, so that all its trials are found here while the search runs
        trials = frozen_trials(self.run.path / names.JOURNAL_FILE, self.run.info["study"])
        return {trial.number: trial for trial in trials}

    @cached_property
    def dataset(self) -> Dataset:
        """The DATASET of the search.

        Raises:
            DataError: it is missing or has changed.
        """
        known = self.run.info["dataset"]
        dataset = Dataset.open(known["path"])
        if dataset.fingerprint != known["fingerprint"]:
            raise DataError(
                f"{known['path']}: its content changed since the search; restore the DATASET that the search used"
            )
        return dataset

    @cached_property
    def chosen(self) -> Chosen:
        """The model in RUN/model, or while there is none the best weights that a trial has saved."""
        folder = place(self.run.path / names.MODEL_FOLDER)
        if (folder / names.CONFIG_FILE).is_file():
            model, about = ResVAE.from_pretrained(folder), read_model_config(folder)
        else:
            model, about = best_model(self.run)
        search = about.get("search")
        trial = search.get("trial") if isinstance(search, dict) else None
        return Chosen(model, trial, about.get("best_epoch"), about.get("best_val_loss"))

    @cached_property
    def evaluation(self) -> Evaluation:
        """The model of RUN/model beside PCA and the raw features.

        Raises:
            UsageError: scikit-learn is not installed.
        """
        if not (self.run.path / names.MODEL_FOLDER).is_dir():
            raise DataError("there is no RUN/model yet; a search writes it at its end")
        return evaluate_model(self.run.path / names.MODEL_FOLDER, self.dataset.path)

    @cached_property
    def validation(self) -> Proteins:
        """The validation rows."""
        return encoded(self.dataset, names.VAL, self.chosen.model)

    @cached_property
    def training(self) -> Proteins:
        """The training rows."""
        return encoded(self.dataset, names.TRAIN, self.chosen.model)


def _lowest(trials: list[TrainingRecord], epoch: int) -> list[float]:
    """Each trial's lowest loss until `epoch`."""
    return [min(row[names.VAL_LOSS] for row in record.epochs if row[names.EPOCH] <= epoch) for record in trials]


def _study(trials: list[FrozenTrial]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize")
    study.add_trials(trials)
    return study
