"""Finds the files of a language model: in a folder, the cache of the Hugging Face hub, or the hub itself."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resvae_ray.errors import DataError, JobError, UsageError, first_line
from resvae_ray.extras import require
from resvae_ray.files.atomic import read_json

OWNER = "facebook"
VOCABULARY = "vocab.txt"
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
TORCH = ("pytorch_model.bin", "pytorch_model.bin.index.json")
DESCRIPTIONS = ["config.json", VOCABULARY, "tokenizer_config.json", "special_tokens_map.json"]
TIMEOUT_S = 10.0
READ_BYTES = 16 << 20


@dataclass(frozen=True)
class ModelFiles:
    """An ESM-2 on this machine.

    Attributes:
        name: its folder's, or its name on the hub.
        folder: with config.json, vocab.txt and the weights.
        config: what config.json says.
        is_hub: any node can get it from the hub.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    is_hub: bool = False

    @classmethod
    def find(cls, model: str) -> "ModelFiles":
        """
        Args:
            model: a folder, or a name on the hub; without an owner it is one of facebook's.

        Raises:
            UsageError: no such model, or transformers is not installed.
            DataError: a folder without an ESM-2 in it.
            JobError: the hub cannot be reached.
        """
        require("esm", "transformers")
        folder = Path(os.path.abspath(os.path.expanduser(model)))
        if folder.is_dir():
            return cls(folder.name, folder, _checked_config(folder, model))
        if model[:1] in ("/", ".", "~") or model.count("/") > 1:
            raise DataError(f"--model {model}: no such folder")
        name = model if "/" in model else f"{OWNER}/{model}"
        folder = _from_cache(name) or _from_hub(name, model)
        return cls(name, folder, _checked_config(folder, model), is_hub=True)

    @property
    def dim(self) -> int:
        """D, the width of the hidden layers."""
        return self.config["hidden_size"]

    @property
    def layers(self) -> int:
        """Hidden layers; the vectors are of the last one."""
        return self.config["num_hidden_layers"]

    @property
    def parameters(self) -> int:
        """About how many numbers a residue is multiplied with: attention and feed-forward of all layers."""
        return 12 * self.layers * self.dim**2

    @property
    def most_residues(self) -> int | None:
        """The longest sequence that the model can read; None where positions are relative and nothing bounds it."""
        if self.config.get("position_embedding_type", "absolute") == "rotary":
            return None
        return self.config["max_position_embeddings"] - self.config["pad_token_id"] - 3

    def weights(self) -> list[Path]:
        """The files with the weights: safetensors where there are, else PyTorch's."""
        for suffix, entries in ((".safetensors", SAFETENSORS), (".bin", TORCH)):
            if any((self.folder / entry).exists() for entry in entries):
                return sorted(self.folder.glob(f"*{suffix}"))
        raise DataError(f"{self.folder}: no weights there; expected {SAFETENSORS[0]}")

    def digest(self) -> str:
        """Of configuration, vocabulary and weights: what decides the vectors."""
        whole = hashlib.blake2b(digest_size=16)
        for path in (self.folder / "config.json", self.folder / VOCABULARY, *self.weights()):
            with path.open("rb") as file:
                while block := file.read(READ_BYTES):
                    whole.update(block)
        return whole.hexdigest()


def _checked_config(folder: Path, model: str) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "esm" or config.get("is_folding_model"):
        raise DataError(f"--model {model}: {folder / 'config.json'} describes {kind or 'no model'}; expected ESM-2")
    for key in ("hidden_size", "num_hidden_layers", "max_position_embeddings", "pad_token_id"):
        if not isinstance(config.get(key), int):
            raise DataError(f"{folder / 'config.json'}: {key} is {config.get(key)!r}; expected a whole number")
    if not (folder / VOCABULARY).exists():
        raise DataError(f"{folder}: no {VOCABULARY} there; an ESM-2 has one beside config.json")
    return config


def _from_cache(name: str) -> Path | None:
    """The folder that an earlier download left, if it is whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise UsageError(f"--model {name}: neither a folder nor a name on the hub: {error}") from None
    whole = all((folder / part).exists() for part in ("config.json", VOCABULARY))
    return folder if whole and any((folder / entry).exists() for entry in (*SAFETENSORS, *TORCH)) else None


def _from_hub(name: str, model: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = HfApi().model_info(name, timeout=TIMEOUT_S)
        held = {file.rfilename for file in info.siblings or []}
        weights = "*.safetensors*" if held & set(SAFETENSORS) else "pytorch_model*.bin*"
        return Path(snapshot_download(name, revision=info.sha, allow_patterns=[*DESCRIPTIONS, weights]))
    except RepositoryNotFoundError:
        raise UsageError(f"--model {model}: neither a folder here nor a model on the hub") from None
    except Exception as error:  # whatever the network and its libraries come up with
        raise JobError(
            f"--model {model}: no such folder here, and the hub cannot be reached ({first_line(error)}); on a machine "
            f"with a network run `hf download {name} --local-dir {name.split('/')[-1]}`, copy the folder here and give "
            "it as --model"
        ) from None
