"""Tensors with readable JSON beside them, in one safetensors file that is old or new, never half.

`read_state` loads no torch: `status` reads the headers of checkpoints.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from resvae_ray.errors import DataError
from resvae_ray.files.atomic import staged_file

if TYPE_CHECKING:
    import torch

STATE_KEY = "state"
CHECKSUM_KEY = "crc32"  # of all tensors and the state; files of others have none


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Replaces `path` by the tensors and, in the file's header, `state` as JSON.

    Raises:
        OSError: the system refuses it.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "pt"} | ({STATE_KEY: json.dumps(state)} if state else {})
    metadata[CHECKSUM_KEY] = _checksum(plain, metadata)
    with staged_file(path) as staging:
        try:
            save_file(plain, staging, metadata=metadata)
        except SafetensorError as error:
            raise _refused(error, path) from error
        _order_header(staging)


def _refused(error: SafetensorError, path: Path) -> OSError:
    """As what safetensors would have raised, had it not put it into words."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(*(int(number[1]), os.strerror(int(number[1]))) if number else (None, str(error)), str(path))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Reads a file that `write_tensors` wrote, without running code from it.

    Raises:
        DataError: the file is missing or invalid.
    """
    with opened_tensors(path, "pt") as file:
        stored = file.keys()
        tensors = {name: file.get_tensor(name) for name in stored}
        metadata = file.metadata() or {}
        if CHECKSUM_KEY in metadata and metadata[CHECKSUM_KEY] != _checksum(tensors, metadata):
            raise DataError(f"{path}: damaged: its content does not have the checksum that was written with it")
        return tensors, state_in(file)


def load_weights(model: torch.nn.Module, tensors: dict[str, torch.Tensor], where: object) -> None:
    """Copies `tensors` into `model`; see `require_fit`."""
    require_fit(model, tensors, where)
    model.load_state_dict(tensors)


def require_fit(model: torch.nn.Module, tensors: dict[str, torch.Tensor], where: object) -> None:
    """
    Raises:
        DataError: a tensor is missing, superfluous or of another shape; path, expected and found are named.
    """
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise DataError(f"{where}: no tensor {name!r}, expected one of shape {tuple(tensor.shape)}")
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
            raise DataError(f"{where}: tensor {name!r} has shape {shapes}")
    if extra := sorted(set(tensors) - set(expected)):
        raise DataError(f"{where}: unexpected tensor {extra[0]!r}, which this model does not have")


def _order_header(path: Path) -> None:
    """Sorts the header: the library writes metadata in varying order, and equal content must give equal bytes."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(size)
        if len(ordered) == size:
            file.seek(8)
            file.write(ordered)


def _checksum(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
    import torch

    crc = zlib.crc32(metadata.get(STATE_KEY, "").encode())
    for name in sorted(tensors):
        crc = zlib.crc32(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode(), crc)
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def read_state(path: Path) -> dict[str, Any]:
    """The JSON of a file that `write_tensors` wrote, without its tensors.

    Raises:
        DataError: the file is missing or invalid.
    """
    with opened_tensors(path, "numpy") as file:
        return state_in(file)


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
