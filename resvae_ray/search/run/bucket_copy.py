"""A RUN in a bucket, and the copies of it on machines.

The search works in a copy on its own machine, because it appends to files, and objects in a bucket are immutable.
The copy is uploaded after every trial that ends. Each training uploads its own state and weights from its node
(checkpoints.py), and the copy fetches the weights on demand.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pyarrow import fs as pafs

from resvae_ray import names
from resvae_ray.errors import DataError, JobError
from resvae_ray.files.atomic import read_json
from resvae_ray.files.place import BucketPlace, Place
from resvae_ray.files.s3 import endpoint
from resvae_ray.model.tensor_file import read_state
from resvae_ray.search.run.checkpoints import OF_TRAININGS

HOME = "RESVAE_RAY_HOME"  # where the copies are that searches work in; ~/.cache/resvae_ray without it
AT_ONCE = 8  # files in transfer
MODEL_CONFIG = f"{names.MODEL_FOLDER}/{names.CONFIG_FILE}"
LAST = (MODEL_CONFIG, names.JOURNAL_FILE)  # uploaded last, in this order
RECORD = (names.JOURNAL_FILE, names.EPOCHS_FILE)
TRIES = 3  # to fetch files that trainings are replacing


class BucketCopy:
    """A full or partial copy of a RUN in a bucket, in a folder of this machine.

    Attributes:
        home: the RUN in the bucket.
        folder: the copy.
        taken_by: the process that has taken over the RUN, if any; nothing is uploaded after that.
        confirm: called before each upload of the record; sets `taken_by` if the lock of the RUN was lost.
    """

    def __init__(self, home: BucketPlace, folder: Path) -> None:
        self.home, self.folder = home, folder
        self.taken_by = ""
        self.confirm: Callable[[], None] = lambda: None
        self._sent: dict[str, tuple[int, int]] = {}
        self._fetched: dict[str, tuple[int | None, int | None]] = {}

    def send(self) -> None:
        """Uploads changed files. The study's journal is last, so every trial that it lists as ended has all its epochs.

        Raises:
            JobError: the bucket cannot be reached, or another process works there.
        """
        if not self.taken_by:
            self.confirm()
        if self.taken_by:
            raise JobError(f"{self.home}: {self.taken_by} took over this search because it was silent for too long")
        changed = [name for name in self._changed("") if not OF_TRAININGS.fullmatch(name) or _is_result(name)]
        if any(name.startswith(f"{names.MODEL_FOLDER}/") for name in changed):
            # Without this file, readers see no MODEL, so they cannot read a mix of old and new files.
            (self.home / MODEL_CONFIG).unlink(missing_ok=True)
            changed = [*changed, MODEL_CONFIG]
        self._send({name for name in changed if name not in LAST})
        for last in LAST:
            self._send({name for name in changed if name == last})
        self._drop(names.TUNE_FOLDER)

    def clear(self) -> None:
        """Removes the copy."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def take_up(self) -> None:
        """Updates the copy from the bucket.

        A copy that continues the RUN in the bucket is kept, because a killed search may have left files that were not
        uploaded. If the search was resumed elsewhere, or never ran here, the copy is fetched again.

        Raises:
            JobError: the bucket cannot be reached, or its files change meanwhile.
        """
        if self._lost_record() or not _goes_on(self.folder / names.RUN_FILE, self.home / names.RUN_FILE):
            self.clear()
            self.fetch()

    def send_folder(self, below: str) -> None:
        """Makes the folder `below` in the bucket match the local one."""
        self._send(self._changed(f"{below}/"))
        self._drop(below)

    def fetch(self) -> None:
        """Fetches all files except the checkpoints of trainings.

        Raises:
            JobError: the bucket cannot be reached, or its files change meanwhile.
        """
        self._fetch(lambda name: not OF_TRAININGS.fullmatch(name) or _is_result(name))

    def fetch_weights(self) -> None:
        """Fetches the weights and results of trainings that are new, and forgets those that were replaced."""

        def wanted(name: str) -> bool:
            return bool(OF_TRAININGS.fullmatch(name)) and not name.endswith(f"/{names.RESUME_FILE}")

        there = self._fetch(wanted)
        for file in list(self.folder.glob("*/*/*.safetensors")):
            if (name := self._name(file)) not in there and OF_TRAININGS.fullmatch(name):
                file.unlink()

    def forget_unknown(self, known: Mapping[str, int | None], paused: Collection[str] = ()) -> None:
        """Removes the files of trainings that are ahead of the record on this machine.

        The record was uploaded when the last trial ended. After a kill on another machine, it lacks the later epochs.
        Such a training starts again: its epochs would be missing from the record or belong to another proposal.

        Args:
            known: the last epoch recorded of each training that has not ended, None for one that has, by its folder.
            paused: the folders of paused trials, which have weights but no state if the search ended and is extended.

        Raises:
            DataError: the record is in the bucket but not on this machine.
        """
        if lost := self._lost_record():
            raise DataError(f"{self.folder}: has no {lost}, which is in {self.home}; remove this copy, and try again")
        for folder in {name.rpartition("/")[0] for name in self.home.files() if OF_TRAININGS.fullmatch(name)}:
            if (recorded := known.get(folder, -1)) is None:
                continue
            saved = self._saved_epoch(folder)
            if not 0 < saved <= recorded + 1 and not (folder in paused and saved == 0):
                (self.home / folder).remove_folder()

    def _lost_record(self) -> str:
        """A file of the record that is in the bucket but not on this machine."""
        lost = (name for name in RECORD if not (self.folder / name).exists() and (self.home / name).exists())
        return next(lost, "")

    def _saved_epoch(self, folder: str) -> int:
        """The epoch of the state in `folder`; 0 if the state is missing or damaged."""
        try:
            with (self.home / folder / names.RESUME_FILE).local_copy() as file:
                return read_state(file)["epoch"]
        except (DataError, KeyError):
            return 0

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def _changed(self, prefix: str) -> list[str]:
        """Files here that are not as they were sent last; hidden ones are half-written, or Ray's own markers."""
        files = {self._name(file): file for file in sorted(self.folder.rglob("*")) if file.is_file()}
        return [
            name
            for name, file in files.items()
            if name.startswith(prefix)
            and name != names.LOCK_FILE
            and not any(part.startswith(".") for part in name.split("/"))
            and (name not in self._sent or self._sent[name] != _state_if_there(file))
        ]

    def _send(self, changed: Iterable[str]) -> None:
        def send(name: str) -> None:
            # Ray replaces and removes files of its own at any time.
            with suppress(FileNotFoundError):
                state = _state(self.folder / name)
                (self.home / name).upload(self.folder / name)
                self._sent[name] = state

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(send, changed))

    def _drop(self, below: str) -> None:
        for name in (self.home / below).files():
            if not (self.folder / below / name).exists():
                (self.home / below / name).unlink(missing_ok=True)

    def _fetch(self, wanted: Callable[[str], bool]) -> dict[str, pafs.FileInfo]:
        """Fetches the files that are wanted and new; all that are there. run.json says that the rest is here."""
        for _ in range(TRIES):
            there = {name: info for name, info in self.home.files().items() if wanted(name)}
            new = {name for name, info in there.items() if self._fetched.get(name) != (info.size, info.mtime_ns)}
            if all(self._fetch_all(part, there) for part in (new - {names.RUN_FILE}, new & {names.RUN_FILE})):
                return there
        raise JobError(f"{self.home}: its files change while they are fetched; try again")

    def _fetch_all(self, new: Iterable[str], there: Mapping[str, pafs.FileInfo]) -> bool:
        """Whether they were all still there."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return all(list(pool.map(lambda name: self._fetch_one(name, there[name]), new)))

    def _fetch_one(self, name: str, info: pafs.FileInfo) -> bool:
        """Whether it was still there."""
        with suppress(DataError):
            (self.home / name).download(self.folder / name)
            self._fetched[name] = (info.size, info.mtime_ns)
            self._sent[name] = _state(self.folder / name)
            return True
        return False


def _is_result(name: str) -> bool:
    return name.endswith(f"/{names.RESULT_FILE}")


def _state_if_there(file: Path) -> tuple[int, int] | None:
    return _state(file) if file.exists() else None


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def copy_to_read(run: Place) -> BucketCopy | None:
    """A copy that ends with this process, as old as its last `fetch`; None for a RUN that is not in a bucket."""
    return _temporary_copy(run) if isinstance(run, BucketPlace) else None


@lru_cache(maxsize=16)
def _temporary_copy(home: BucketPlace) -> BucketCopy:
    folder = tempfile.mkdtemp(prefix="resvae_ray-run-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return BucketCopy(home, Path(folder) / home.name)


def working_copy(run: Place) -> BucketCopy | None:
    """The copy that a search on this machine works in; None for a RUN that is not in a bucket.

    It is the same folder for the same server, bucket and name.
    """
    if not isinstance(run, BucketPlace):
        return None
    root = Path(os.environ.get(HOME) or "~/.cache/resvae_ray").expanduser().absolute()
    digest = hashlib.blake2b(f"{endpoint() or ''} {run}".encode(), digest_size=6).hexdigest()
    return BucketCopy(run, root / "runs" / digest / run.name)


def _goes_on(here: Path, there: BucketPlace) -> bool:
    """Whether one run.json is of the same study as another, and of its sessions or more."""
    try:
        own, its = read_json(here), read_json(there)
        begun = its["sessions"]
        return own["study"] == its["study"] and own["sessions"][: len(begun)] == begun
    except (DataError, KeyError, TypeError):
        return False
