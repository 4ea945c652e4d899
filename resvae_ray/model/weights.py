"""Tensors with readable JSON beside them, in one safetensors file that is old or new, never half."""

import json
import os
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from resvae_ray.errors import DataError
from resvae_ray.model.checkpoint import STATE_KEY, opened_tensors, state_in
from resvae_ray.remote import Place
from resvae_ray.storage import staged_file

CHECKSUM_KEY = "crc32"  # of all tensors and the state; files of others have none


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Replaces `path` by the tensors and, in the file's header, `state` as JSON.

    Raises:
        OSError: the system refuses it.
    """
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
    """What `write_tensors` wrote; no code of the file runs.

    Raises:
        DataError: no such file, or not one of these.
    """
    with opened_tensors(path, "pt") as file:
        stored = file.keys()
        tensors = {name: file.get_tensor(name) for name in stored}
        metadata = file.metadata() or {}
        if CHECKSUM_KEY in metadata and metadata[CHECKSUM_KEY] != _checksum(tensors, metadata):
            raise DataError(f"{path}: damaged: its content does not have the checksum that was written with it")
        return tensors, state_in(file)


def load_weights(model: torch.nn.Module, tensors: dict[str, torch.Tensor], where: str | Place) -> None:
    """Copies `tensors` into `model`; see `require_fit`."""
    require_fit(model, tensors, where)
    model.load_state_dict(tensors)


def require_fit(model: torch.nn.Module, tensors: dict[str, torch.Tensor], where: str | Place) -> None:
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
        raise DataError(f"{where}: tensor {extra[0]!r} is no part of this model")


def _order_header(path: Path) -> None:
    """The library writes the metadata in an order that changes; the same content shall be the same bytes."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(size)
        if len(ordered) == size:
            file.seek(8)
            file.write(ordered)


def _checksum(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
    crc = zlib.crc32(metadata.get(STATE_KEY, "").encode())
    for name in sorted(tensors):
        crc = zlib.crc32(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode(), crc)
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"
