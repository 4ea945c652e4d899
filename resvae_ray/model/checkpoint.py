"""What a training keeps on the disk, where each of it is, and what can be told of it without its tensors.

A training's folder holds `best-0017.safetensors` (the weights of epoch 17, the best so far) and `resume.safetensors`
(all that the next epoch needs). The latter names the former, is written after it, and only then are older ones removed:
whenever the process is killed, the newest `resume` and the `best` that it names belong together.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from resvae_ray.errors import DataError
from resvae_ray.names import BEST_FILES, RESUME_FILE

STATE_KEY = "state"
ANY_BEST = BEST_FILES.replace("{epoch:04d}", "*")


def read_state(path: Path) -> dict[str, Any]:
    """The JSON of a file that `write_tensors` wrote, without its tensors.

    Raises:
        DataError: no such file, or not one of these.
    """
    with opened_tensors(path, "numpy") as file:
        return state_in(file)


def best_path(folder: Path, epoch: int) -> Path:
    """Where the weights of a best epoch are kept."""
    return folder / BEST_FILES.format(epoch=epoch)


def newest_best(folder: Path) -> Path | None:
    """The weights of the best epoch that are on the disk; the latest file, since each beats the ones before."""
    return max(folder.glob(ANY_BEST), key=lambda path: (len(path.name), path.name), default=None)


def keep_only_best(folder: Path, epoch: int) -> None:
    """Removes the weights of all best epochs but `epoch`."""
    for path in folder.glob(ANY_BEST):
        if path != best_path(folder, epoch):
            path.unlink()


@contextmanager
def opened_tensors(path: Path, framework: str) -> Iterator[Any]:
    """A safetensors file, whose tensors are those of `framework`, "pt" or "numpy".

    Raises:
        DataError: no such file, or not a sound one of these.
        OSError: the system does not let it be read now; safetensors would call that "no such file".
    """
    try:
        path.open("rb").close()
        with safe_open(path, framework=framework) as file:
            yield file
    except DataError:
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise DataError(f"{path}: no such file") from None
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{path}: not a readable safetensors file: {error}") from None


def state_in(file: Any) -> dict[str, Any]:
    """The JSON in the header of an opened file."""
    try:
        return json.loads((file.metadata() or {}).get(STATE_KEY, "{}"))
    except RecursionError:
        raise ValueError("its state is not valid JSON") from None


def resume_path(folder: Path) -> Path:
    """Where a training that can go on keeps its state."""
    return folder / RESUME_FILE
