"""The folder of a training: which files it holds, and which tensors a training needs to resume.

It holds `best-0017.safetensors` (the weights of epoch 17, the best so far) and `resume.safetensors` (all that the next
epoch needs). The latter names the former, is written after it, and only then are older ones removed: whenever the
process is killed, the newest `resume` and the `best` that it names belong together.

File names are known without torch: `status` reads only the headers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from resvae_ray.errors import DataError
from resvae_ray.model.tensor_file import load_weights
from resvae_ray.names import BEST_FILES, RESUME_FILE

if TYPE_CHECKING:
    import torch
    from torch.optim.swa_utils import AveragedModel

ANY_BEST = BEST_FILES.replace("{epoch:04d}", "*")
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def best_path(folder: Path, epoch: int) -> Path:
    """The file with the weights of the best epoch."""
    return folder / BEST_FILES.format(epoch=epoch)


def newest_best(folder: Path) -> Path | None:
    """The weights of the best epoch that are on the disk; the latest file, since each beats the ones before."""
    return max(folder.glob(ANY_BEST), key=lambda path: (len(path.name), path.name), default=None)


def keep_only_best(folder: Path, epoch: int) -> None:
    """Removes the weights of all best epochs but `epoch`."""
    for path in folder.glob(ANY_BEST):
        if path != best_path(folder, epoch):
            path.unlink()


def resume_path(folder: Path) -> Path:
    """The file with the state that a training resumes from."""
    return folder / RESUME_FILE


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
    """Restores what `state_tensors` returned, as it was read from `path`.

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


def _require_moments(moments: dict[str, torch.Tensor | None], shape: tuple[int, ...], where: str) -> None:
    for key, tensor in moments.items():
        expected = () if key == "step" else shape
        if tensor is None or tensor.shape != expected:
            found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}, not {tuple(expected)}"
            raise DataError(f"{where}: {key} is {found}")


def _named(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
