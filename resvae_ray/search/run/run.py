"""RUN: the folder that records a search. It can be read during the search and after it.

    run = Run.open("run")
    run.trials()          # a DataFrame, one row per trial
    run.epochs()          # a DataFrame, one row per trial and epoch
    run.status()          # counts, the best so far, the running trials

The study's journal and epochs.jsonl are the record. Everything else (trials.csv, best.csv, model/) is made from them.
"""

import shlex
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.config_file import config_from_dict, config_to_dict, config_to_toml
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.atomic import read_json, write_json, write_text
from resvae_ray.files.place import AnyPath, LocalPlace, Place, place, place_to_write
from resvae_ray.search.run.bucket_copy import BucketCopy, copy_to_read, working_copy
from resvae_ray.search.run.epoch_log import read_epochs
from resvae_ray.search.run.finalists import Finalist, best_weights, chosen_of, finalists_of, left_to_train
from resvae_ray.search.run.lock import Worker, hold, worker, worker_in_bucket
from resvae_ray.search.run.snapshot import Snapshot, SnapshotReader
from resvae_ray.search.run.status import Status, as_html, as_line, status_of
from resvae_ray.search.run.trainings import BestTrial, SavedWeights, TrainingRecord, best_of, record_of

if TYPE_CHECKING:
    import pandas as pd

    from resvae_ray.data.dataset import Dataset


@dataclass(frozen=True, repr=False)
class Run:
    """A RUN folder.

    Attributes:
        path: the folder; of a RUN in a bucket, a copy on this machine.
        info: run.json.
        config: the resolved configuration.
        copy: of what is in a bucket; None for a RUN on a disk.
    """

    path: Path
    info: dict[str, Any]
    config: Config
    copy: BucketCopy | None = None

    @classmethod
    def create(
        cls,
        path: AnyPath,
        config: Config,
        dataset: "Dataset",
        about: dict[str, Any],
        copy: BucketCopy | None = None,
    ) -> "Run":
        """Makes the folder with run.json; nothing has started then.

        Args:
            about: the study's name and further facts for the record.
            copy: to work in, if `path` is in a bucket; by default the one that `tune` works in.

        Raises:
            UsageError: the folder holds something already.
        """
        where = place_to_write(path)
        refuse_existing_run(where)
        if copy := copy or working_copy(where):
            copy.clear()  # it may be of a RUN that was deleted
        content = {**about, **_content(config, dataset), "sessions": []}
        folder = LocalPlace(copy.folder) if copy else where
        (folder / names.RUN_FILE).write_json(content)
        run = cls.read(where, copy)
        run.send()
        return run

    @classmethod
    def open(cls, path: AnyPath) -> "Run":
        """
        Raises:
            DataError: the folder is not a RUN.
        """
        where = place(path)
        _require_run(where)
        if copy := copy_to_read(where):
            copy.fetch()
        return cls.read(where, copy)

    @classmethod
    def read(cls, where: Place, copy: BucketCopy | None) -> "Run":
        """The RUN at `where`; if it is in a bucket, as its copy is at this moment."""
        folder = copy.folder if copy else Path(str(where))
        info = read_json(folder / names.RUN_FILE)
        try:
            if not (isinstance(info["study"], str) and isinstance(info["dataset"]["path"], str)):
                raise TypeError("study and dataset.path must be text")
            for session in info["sessions"]:
                time.strptime(session["started"], names.TIME_FORMAT)
            return cls(folder, info, config_from_dict(info["config"]), copy)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where / names.RUN_FILE}: not a run of this version: {error}") from None

    def begin_session(
        self, config: Config, dataset: "Dataset", session: dict[str, Any], study: str | None = None
    ) -> "Run":
        """Records a session with `config` before it starts.

        Args:
            study: the name of the study that it continues, if that is another one.
        """
        sessions = [*self.info["sessions"], session]
        study = study or self.info["study"]
        info = {**self.info, **_content(config, dataset), "study": study, "sessions": sessions}
        write_text(self.path / names.SEARCH_FILE, config_to_toml(config))
        write_json(self.path / names.RUN_FILE, info)
        self.send()
        return replace(self, info=info, config=config)

    @property
    def where(self) -> Place:
        """The RUN as the user names it: `path`, or its path in a bucket."""
        return self.copy.home if self.copy else LocalPlace(self.path)

    def send(self) -> None:
        """Sends what has changed to the bucket, if it is in one; see `BucketCopy.send`."""
        if self.copy:
            self.copy.send()

    @property
    def resume_command(self) -> str:
        """The command that resumes the search."""
        return shlex.join(["resvae-ray", "tune", self.info["dataset"]["path"], str(self.where), "--resume"])

    def lock(self) -> AbstractContextManager[None]:
        """Holds the right to write in this folder of a disk; ends with the process, however that ends.

        Raises:
            UsageError: another process holds it.
        """
        return hold(self.path / names.LOCK_FILE)

    def reread(self) -> "Run":
        """The RUN as it is now: itself, which reads only what was added, unless a session has changed run.json.

        Raises:
            DataError: the folder is no longer a RUN.
        """
        _require_run(self.where)
        if self.copy:
            self.copy.fetch()
        now = Run.read(self.where, self.copy)
        return self if now.info == self.info else now

    @cached_property
    def _reader(self) -> SnapshotReader:
        return SnapshotReader(self.path, self.info["study"])

    def snapshot(self) -> Snapshot:
        """The current record. Only data added since an earlier call is read.

        Raises:
            DataError: the record is damaged.
        """
        return self._reader.read()

    def records(self) -> list[TrainingRecord]:
        """All that is recorded of the trials, by number."""
        return self.snapshot().trials

    def epochs(self) -> "pd.DataFrame":
        """All epochs of the trials, a row each, by trial and epoch; of an epoch that was repeated, the last report."""
        import pandas as pd

        rows = read_epochs(self.path / names.EPOCHS_FILE)
        return pd.DataFrame([row for row in rows if row.get(names.REPEAT) is None])

    def trials(self) -> "pd.DataFrame":
        """One row per trial: number, state, parameters, best loss and epoch, epochs, seconds, node, failure reason."""
        from resvae_ray.search.run.tables import trials_table

        return trials_table(self.records(), self.config)

    def best(self) -> BestTrial | None:
        """The lowest validation loss that any trial reported at any epoch."""
        return best_of(self.records())

    def finalists(self) -> list[Finalist]:
        """The configurations that are trained again, the best of the search first; none while trials are left."""
        self._fetch_weights()
        return finalists_of(self.snapshot(), self.config.search)

    def trainings_left(self) -> int:
        """Trials and retrainings of finalists that have not ended."""
        snapshot = self.snapshot()
        ended = sum(trial.ended for trial in snapshot.trials)
        return max(0, snapshot.wanted(self.config.search) - ended) + len(left_to_train(self.finalists()))

    def chosen(self) -> tuple[Finalist, int] | None:
        """The finalist that was chosen last, and among how many; None before any was."""
        return chosen_of(self.snapshot(), self.path)

    def saved(self) -> list[SavedWeights]:
        """The newest weights of each trial that has saved some, the best first."""
        return self._reader.saved()

    def weights(self) -> SavedWeights | None:
        """The weights that `export` takes: the best of the chosen finalist, or of all trials while none is chosen.

        Only saved weights count. An interrupted trial may have reached a lower loss after its last checkpoint.
        """
        self._fetch_weights()
        if (chosen := self.chosen()) is not None:
            return best_weights(self.path, chosen[0])
        return next(iter(self.saved()), None)

    def saved_best(self) -> BestTrial | None:
        """The trial whose configuration `weights` belong to, with their loss and epoch."""
        if (weights := self.weights()) is None:
            return None
        params = record_of(self.records(), weights.number, self.where).params
        return BestTrial(weights.number, params, weights.val_loss, weights.epoch)

    def lost_best(self) -> str | None:
        """A sentence about a reported loss that is lower than any saved one, if there is such a loss."""
        self._fetch_weights()
        best, saved = self.best(), next(iter(self.saved()), None)
        at_work = self._worker()
        if best is None or (saved is not None and saved.val_loss <= best.best_val_loss) or (at_work and at_work.alive):
            return None
        state = record_of(self.records(), best.number, self.where).state
        ends = "tune --resume gets it back" if state in (names.RUNNING, names.PAUSED) else "it is lost"
        return (
            f"trial {best.number} had {best.best_val_loss:,.2f} in epoch {best.best_epoch} and was cut off "
            f"before it saved that; {ends}"
        )

    def standing(self) -> Status:
        """How the search stands: counts, the best, trainings under way, failures, rate and time left."""
        snapshot = self.snapshot()
        finalists = finalists_of(snapshot, self.config.search)
        chosen = chosen_of(snapshot, self.path)
        at_work, sessions = self._worker(), self.info["sessions"]
        return status_of(snapshot, finalists, chosen and chosen[0], self.config, at_work, sessions)

    def status(self) -> dict[str, Any]:
        """`standing` as `resvae-ray status --json` prints it."""
        return self.standing().as_json()

    def __repr__(self) -> str:
        return as_line(self.where, self.standing())

    def _repr_html_(self) -> str:
        """The table that a notebook shows."""
        return as_html(self.where, self.standing())

    def _fetch_weights(self) -> None:
        if self.copy:
            self.copy.fetch_weights()

    def _worker(self) -> Worker | None:
        if self.copy is None:
            return worker(self.path / names.LOCK_FILE)
        return worker_in_bucket(self.copy.home / names.LOCK_FILE)

    def write_tables(self) -> None:
        """trials.csv, trials.parquet and best.csv, each replaced in one step."""
        from resvae_ray.search.run.tables import write_result, write_trials

        write_trials(self.path, self.trials())
        if (best := self.saved_best()) is not None:
            write_result(self.path, self.result_table(best))

    def result_table(self, best: BestTrial) -> "pd.DataFrame":
        """The result table of the paper, with this search's best in it."""
        from resvae_ray.search.run.tables import result_table

        return result_table(best, self.config, self.info["dataset"]["dim"])


def _content(config: Config, dataset: "Dataset") -> dict[str, Any]:
    return {"config": config_to_dict(config), "dataset": {**asdict(dataset), "path": str(dataset.path)}}


def _require_run(where: Place) -> None:
    """
    Raises:
        DataError: the folder is not a RUN.
    """
    if not (where / names.RUN_FILE).is_file():
        raise DataError(f"{where}: not a RUN: {names.RUN_FILE} is missing; create one with `resvae-ray tune`")


def refuse_existing_run(folder: Place) -> None:
    """
    Raises:
        UsageError: the folder holds a run, or anything else.
    """
    if (folder / names.RUN_FILE).exists():
        raise UsageError(f"{folder}: already holds a run; resume it with --resume, or choose another folder")
    # The lock is taken before anything is written, and may be left by one that was killed right then.
    folder.refuse_existing(besides=names.LOCK_FILE)
