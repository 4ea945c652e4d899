"""The weights that the paper's authors published: a `.pt` file with the state dict of their class."""

from pathlib import Path

import torch

from resvae_ray.errors import DataError, ResVAERayError, first_line
from resvae_ray.files.place import place
from resvae_ray.model.network import ResVAE
from resvae_ray.model.tensor_file import load_weights


def load_published_weights(path: str | Path) -> ResVAE:
    """The model of a `.pt` file with the state dict of the published class; its widths are read off the tensors.

    Raises:
        DataError: no such file, not a state dict, or not one of a Res-VAE. No code of the file runs.
    """
    try:
        with place(path).local_copy() as file:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except ResVAERayError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # torch raises a different type for each kind of invalid file
        raise DataError(f"{path}: not a file of weights: {first_line(error)}") from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise DataError(f"{path}: not a state dict: names with tensors")
    for name in ("fc1.weight", "fc21.weight"):
        if name not in tensors or tensors[name].dim() != 2:
            raise DataError(f"{path}: no matrix {name!r}, so not the weights of a Res-VAE")
    hidden_dim, input_dim = tensors["fc1.weight"].shape
    model = ResVAE(input_dim, hidden_dim, len(tensors["fc21.weight"]))
    load_weights(model, tensors, path)
    return model.eval()
