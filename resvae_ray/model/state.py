"""What a training to be resumed holds in tensors: the network, Adam's moments, and the average of the weights."""

from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from resvae_ray.errors import DataError
from resvae_ray.model.weights import load_weights

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def state_tensors(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, average: AveragedModel | None
) -> dict[str, torch.Tensor]:
    """All of it, by names: `model.fc1.weight`, `optimizer.exp_avg.fc1.weight`, `average.module.fc1.weight`."""
    tensors = _named("model.", model.state_dict())
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    return tensors | (_named("average.", average.state_dict()) if average is not None else {})


def load_state(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    tensors: dict[str, torch.Tensor],
    path: Path,
) -> None:
    """Takes up what `state_tensors` gave, as it was read from `path`.

    Raises:
        DataError: the tensors do not fit.
    """
    load_weights(model, _part(tensors, "model."), path)
    if average is not None:
        load_weights(average, _part(tensors, "average."), path)
    content: dict[str, Any] = optimizer.state_dict()
    for position, (name, _) in enumerate(model.named_parameters()):
        moments = {key: tensors.get(f"optimizer.{key}.{name}") for key in MOMENTS}
        if any(tensor is not None for tensor in moments.values()):
            _require_moments(moments, model.get_parameter(name).shape, f"{path}: optimizer of {name}")
            content["state"][position] = moments
    optimizer.load_state_dict(content)


def _require_moments(moments: dict[str, torch.Tensor | None], shape: torch.Size, where: str) -> None:
    for key, tensor in moments.items():
        expected = torch.Size([]) if key == "step" else shape
        if tensor is None or tensor.shape != expected:
            found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}, not {tuple(expected)}"
            raise DataError(f"{where}: {key} is {found}")


def _named(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
