"""Where a training keeps its state and weights: its folder of the RUN, or in a bucket, with a copy where it trains."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resvae_ray import names
from resvae_ray.remote import Place, Remote, download, upload


class Kept:
    """The folder of a training, on the machine where it runs.

    Attributes:
        folder: which it saves to, and resumes from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def send(self) -> None:
        """Brings what was saved to where the next machine finds it: here it is there already."""


class KeptInBucket(Kept):
    """The same, in a bucket. At any moment the state there names weights that are there too, see checkpoint.py."""

    def __init__(self, folder: Path, home: Remote) -> None:
        super().__init__(folder)
        self._home = home
        self._there = set(home.files())
        for name in self._there:
            if name.endswith(".safetensors"):
                download(home / name, folder / name)

    def send(self) -> None:
        """Sends new weights, then the state, and only then removes the weights that it does not need any more.

        Raises:
            JobError: the bucket cannot be reached.
        """
        here = {file.name for file in self.folder.glob("*.safetensors")}
        for name in sorted(here - self._there - {names.RESUME_FILE}):
            upload(self.folder / name, self._home / name)
        if names.RESUME_FILE in here:
            upload(self.folder / names.RESUME_FILE, self._home / names.RESUME_FILE)
        for name in self._there - here:
            if name.endswith(".safetensors"):
                (self._home / name).unlink(missing_ok=True)
        self._there = here


@contextmanager
def kept_in(folder: Place) -> Iterator[Kept]:
    """What a training saves to so that it is in `folder`."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
        yield Kept(folder)
        return
    with tempfile.TemporaryDirectory(prefix="resvae_ray-trial-") as scratch:
        yield KeptInBucket(Path(scratch), folder)
