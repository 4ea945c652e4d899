"""Where a training keeps its state and weights: its folder of the RUN, or in a bucket, with a copy where it trains."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resvae_ray import names
from resvae_ray.files.place import Place, Remote, download, upload


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
        for name in home.files():
            if name.endswith(".safetensors"):
                download(home / name, folder / name)
        self._there = self._here()

    def send(self) -> None:
        """Sends new weights, then the state, and only then removes the weights that it does not need any more.

        Raises:
            JobError: the bucket cannot be reached.
        """
        here = self._here()
        changed = {name for name, state in here.items() if self._there.get(name) != state}
        for name in sorted(changed - {names.RESUME_FILE}):
            upload(self.folder / name, self._home / name)
        if names.RESUME_FILE in here:
            upload(self.folder / names.RESUME_FILE, self._home / names.RESUME_FILE)
        for name in self._there.keys() - here:
            (self._home / name).unlink(missing_ok=True)
        self._there = here

    def _here(self) -> dict[str, tuple[int, int]]:
        """Size and time of each file: a training that starts anew may write a name that is in the bucket already."""
        states = {file.name: file.stat() for file in self.folder.glob("*.safetensors")}
        return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}


@contextmanager
def kept_in(folder: Place) -> Iterator[Kept]:
    """What a training saves to so that it is in `folder`."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
        yield Kept(folder)
        return
    with tempfile.TemporaryDirectory(prefix="resvae_ray-trial-") as scratch:
        yield KeptInBucket(Path(scratch), folder)
