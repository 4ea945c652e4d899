"""MODEL: a folder with the weights (safetensors), config.json and a model card, as Hugging Face lays out models.

save_model("model", resvae, {...})
model = ResVAE.from_pretrained("model")
"""

from pathlib import Path
from typing import Any

import torch

from resvae_ray import names
from resvae_ray.errors import DataError
from resvae_ray.model.checkpoint import load_weights, read_tensors, write_tensors
from resvae_ray.model.network import ResVAE
from resvae_ray.storage import local_target, read_json, staged_folder, write_json

MODEL_TYPE = "resvae"


def save_model(path: str | Path, model: ResVAE, about: dict[str, Any]) -> Path:
    """Writes a MODEL folder.

    Args:
        about: what is known of the model besides its shape: training configuration, best loss, features, search; kept
            in config.json.

    Raises:
        UsageError: `path` is there already and not empty.
    """
    folder = local_target(path)
    shape = {
        "model_type": MODEL_TYPE,
        "architectures": ["ResVAE"],
        "input_dim": model.input_dim,
        "hidden_dim": model.hidden_dim,
        "z_dim": model.z_dim,
        "dropout": model.dropout,
    }
    with staged_folder(folder) as staging:
        write_tensors(staging / names.WEIGHTS_FILE, model.state_dict(), {})
        write_json(staging / names.CONFIG_FILE, shape | about)
        (staging / names.CARD_FILE).write_text(model_card(shape | about))
    return folder


def load_model(path: str | Path) -> ResVAE:
    """The model of a MODEL folder, on the CPU, in eval mode; no code of the folder runs.

    Raises:
        DataError: no MODEL there, or weights that do not fit its configuration.
    """
    config = read_model_config(path)
    folder = local_target(path)
    model = ResVAE(config["input_dim"], config["hidden_dim"], config["z_dim"], config.get("dropout", 0.3))
    tensors, _ = read_tensors(folder / names.WEIGHTS_FILE)
    load_weights(model, tensors, folder / names.WEIGHTS_FILE)
    return model.eval()


def read_model_config(path: str | Path) -> dict[str, Any]:
    """config.json of a MODEL folder.

    Raises:
        DataError: no MODEL there.
    """
    folder = local_target(path)
    if not (folder / names.CONFIG_FILE).is_file():
        raise DataError(f"{folder}: no MODEL: it has no {names.CONFIG_FILE}; make one with `resvae-ray export`")
    config = read_json(folder / names.CONFIG_FILE)
    for key in ("input_dim", "hidden_dim", "z_dim"):
        if not isinstance(config, dict) or not isinstance(config.get(key), int) or config[key] < 1:
            raise DataError(f"{folder / names.CONFIG_FILE}: {key} is missing or no whole number above 0")
    return config


def load_published_weights(path: str | Path) -> ResVAE:
    """The model of a `.pt` file with the state dict of the published class; its widths are read off the tensors.

    Raises:
        DataError: no such file, not a state dict, or not one of a Res-VAE. No code of the file runs.
    """
    try:
        tensors = torch.load(local_target(path), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # torch raises a different type for each way in which a file is no state dict
        raise DataError(f"{path}: not a file of weights: {str(error).splitlines()[0]}") from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise DataError(f"{path}: not a state dict: names with tensors")
    for name in ("fc1.weight", "fc21.weight"):
        if name not in tensors or tensors[name].dim() != 2:
            raise DataError(f"{path}: no matrix {name!r}, so not the weights of a Res-VAE")
    hidden_dim, input_dim = tensors["fc1.weight"].shape
    model = ResVAE(input_dim, hidden_dim, len(tensors["fc21.weight"]))
    load_weights(model, tensors, path)
    return model.eval()


def model_card(config: dict[str, Any]) -> str:
    """README.md of a MODEL."""
    lines = [
        "---",
        "library_name: resvae_ray",
        "tags: [protein, embedding, variational-autoencoder]",
        "---",
        "# Res-VAE",
        "",
        f"Compresses protein features of {config['input_dim']} numbers to {config['z_dim']} latents.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {_cell(value)} |" for key, value in config.items() if not isinstance(value, (dict, list))),
        "",
    ]
    for title, key in (("Training", "training"), ("Validation", "validation"), ("Features", "features")):
        if isinstance(table := config.get(key), dict) and table:
            lines += [f"## {title}", "", "| | |", "|---|---|"]
            lines += [f"| {name} | {_cell(value)} |" for name, value in table.items()] + [""]
    lines += [
        "## Use",
        "",
        "```python",
        "from resvae_ray import ResVAE",
        "",
        "model = ResVAE.from_pretrained(PATH)  # eval mode",
        "mu, logvar = model.encode(features)  # float32 (B, D) to the posterior's mean and log variance (B, Z)",
        "```",
        "",
        "Or for files: `resvae-ray encode MODEL FEATURES LATENTS`. The features must come from the same language",
        "model, layer and pooling, and are not normalised.",
        "",
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")
