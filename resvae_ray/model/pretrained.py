"""MODEL on disk: a folder with weights (safetensors), config.json and a model card, as Hugging Face lays out models.

`ResVAE.save_pretrained` and `ResVAE.from_pretrained` write and read it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from resvae_ray import names
from resvae_ray.config import LINEAR_PATHS
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.atomic import read_json, write_json
from resvae_ray.files.hub import send
from resvae_ray.files.place import AnyPath, Place, place
from resvae_ray.model.model_card import model_card
from resvae_ray.model.tensor_file import read_tensors, write_tensors

MODEL_FILES = (names.WEIGHTS_FILE, names.CONFIG_FILE, names.CARD_FILE, names.ONNX_FILE, names.TORCH_EXPORT_FILE)
WIDTH_MOST = 1 << 24  # of a layer; a number beyond all bounds would overflow the count of the weights


def nothing_else(folder: Path) -> None:
    """Adds no file to a MODEL."""


def write_bundle(
    folder: Place,
    tensors: dict[str, torch.Tensor],
    config: dict[str, Any],
    add_files: Callable[[Path], None] = nothing_else,
) -> None:
    """Writes a MODEL folder, all of it or nothing.

    Args:
        add_files: writes additional files into the folder before it becomes visible.

    Raises:
        UsageError: `folder` exists and is not empty.
    """
    with folder.staged_folder(names.CONFIG_FILE) as staging:
        write_tensors(staging / names.WEIGHTS_FILE, tensors, {})
        write_json(staging / names.CONFIG_FILE, config)
        (staging / names.CARD_FILE).write_text(model_card(config))
        add_files(staging)


def read_bundle(folder: Place) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and config.json of a MODEL folder; no code of the folder runs.

    Raises:
        DataError: no MODEL there, or a damaged one.
    """
    config = read_model_config(folder)
    with (folder / names.WEIGHTS_FILE).local_copy() as weights:
        tensors, _ = read_tensors(weights)
    if read_model_config(folder) != config:
        raise DataError(f"{folder}: was replaced while it was read; run the same command again")
    return tensors, config


def push_to_hub(model: AnyPath, name: str, *, private: bool | None = None) -> str:
    """Uploads a MODEL folder to the Hugging Face hub in one commit; returns the commit's address.

    Only the files of a MODEL are uploaded: weights, config.json, card, model.onnx and model.pt2.

    Args:
        name: `user/model` on the hub; created if it is not there.
        private: whether a new repository is private; by default as its owner has set.

    Raises:
        DataError: no MODEL there.
        UsageError: `model` is in a bucket, an invalid hub name, or a token without write access.
        JobError: the hub cannot be reached.
    """
    folder = place(model)
    read_model_config(folder)
    if folder.local is None:
        raise UsageError(f"{folder}: only a MODEL on a disk can be pushed; copy it to this machine first")
    return send(folder.local, name, MODEL_FILES, private=private)


def read_model_config(folder: Place) -> dict[str, Any]:
    """config.json of a MODEL folder.

    Raises:
        DataError: no MODEL there, or one without its widths.
    """
    if not (folder / names.CONFIG_FILE).is_file():
        raise DataError(f"{folder}: no MODEL: it has no {names.CONFIG_FILE}; make one with `resvae-ray export`")
    config = read_json(folder / names.CONFIG_FILE)
    for key in ("input_dim", "hidden_dim", "z_dim"):
        if not isinstance(config, dict) or type(config.get(key)) is not int or not 0 < config[key] <= WIDTH_MOST:
            raise DataError(
                f"{folder / names.CONFIG_FILE}: {key} is missing or no whole number above 0 (at most {WIDTH_MOST:,})"
            )
    dropout = config.get("dropout", 0.0)
    if not isinstance(dropout, float | int) or not 0 <= dropout <= 1:
        raise DataError(f"{folder / names.CONFIG_FILE}: dropout is {dropout!r}; expected a number from 0 to 1")
    if (linear := config.get("linear", "none")) not in LINEAR_PATHS:
        raise DataError(f"{folder / names.CONFIG_FILE}: linear is {linear!r}; expected {' or '.join(LINEAR_PATHS)}")
    for key in ("nested", "conditioned"):
        if not isinstance(value := config.get(key, False), bool):
            raise DataError(f"{folder / names.CONFIG_FILE}: {key} is {value!r}; expected true or false")
    return config
