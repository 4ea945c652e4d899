"""The files that a training writes in its folder of the RUN, and how they get into a bucket.

RUN/trials/0007/best-0012.safetensors    the weights of its best epoch
RUN/trials/0007/resume.safetensors       its state, until it has ended
RUN/finalists/.../                       the same for a retraining, and result.json when it has ended

On a disk a training writes them where they belong. In a bucket it writes them to a temporary folder of its machine and
uploads them itself, wherever it runs. Everything else in a RUN is written by the driver, see bucket_copy.py.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resvae_ray import names
from resvae_ray.files.place import BucketPlace, Place

OF_TRAININGS = re.compile(
    rf"({names.TRIALS_FOLDER}|{names.FINALISTS_FOLDER})/[^/]+/([^/]+\.safetensors|{re.escape(names.RESULT_FILE)})"
)


class CheckpointFolder:
    """The folder of a training, on the machine where it runs.

    Attributes:
        folder: where it saves to, and resumes from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def send(self) -> None:
        """Makes the saved files visible to other machines; on a disk they are."""


class BucketCheckpointFolder(CheckpointFolder):
    """A copy of the folder in a bucket. At any moment the state there names weights that are there too."""

    def __init__(self, folder: Path, home: BucketPlace) -> None:
        super().__init__(folder)
        self._home = home
        for name in home.files():
            if name.endswith(".safetensors"):
                (home / name).download(folder / name)
        self._there = self._here()

    def send(self) -> None:
        """Uploads new weights, then the state, and only then removes the weights that it no longer needs.

        Raises:
            JobError: the bucket cannot be reached.
        """
        here = self._here()
        changed = {name for name, state in here.items() if self._there.get(name) != state}
        for name in sorted(changed - {names.RESUME_FILE}):
            (self._home / name).upload(self.folder / name)
        if names.RESUME_FILE in here:
            (self._home / names.RESUME_FILE).upload(self.folder / names.RESUME_FILE)
        for name in self._there.keys() - here:
            (self._home / name).unlink(missing_ok=True)
        self._there = here

    def _here(self) -> dict[str, tuple[int, int]]:
        """Size and time of each file: a training that starts anew may write a name that is in the bucket already."""
        states = {file.name: file.stat() for file in self.folder.glob("*.safetensors")}
        return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}


@contextmanager
def checkpoint_folder(folder: Place) -> Iterator[CheckpointFolder]:
    """The folder on this machine that a training writes to, so that its files get into `folder`."""
    if isinstance(folder, BucketPlace):
        with tempfile.TemporaryDirectory(prefix="resvae_ray-trial-") as scratch:
            yield BucketCheckpointFolder(Path(scratch), folder)
    else:
        local = Path(str(folder))
        local.mkdir(parents=True, exist_ok=True)
        yield CheckpointFolder(local)
