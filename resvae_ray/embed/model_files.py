"""Finds the files of a language model: in a folder, the cache of the Hugging Face hub, or the hub itself."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resvae_ray.embed.families import FAMILIES, family_of, missing_vocabulary
from resvae_ray.embed.families.family import Family
from resvae_ray.embed.settings import ALL, EACH, Embedding, PooledLayer, outputs_of
from resvae_ray.errors import DataError, JobError, UsageError, first_line
from resvae_ray.extras import require
from resvae_ray.files.atomic import read_json

OWNER = "facebook"
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
TORCH = ("pytorch_model.bin", "pytorch_model.bin.index.json")
VOCABULARIES = sorted({name for family in FAMILIES for name in family.vocabularies})
DESCRIPTIONS = ["config.json", *VOCABULARIES, "added_tokens.json", "tokenizer_config.json", "special_tokens_map.json"]
TIMEOUT_S = 10.0
READ_BYTES = 16 << 20


@dataclass(frozen=True)
class ModelFiles:
    """A protein language model on this machine.

    Attributes:
        name: its folder's, or its name on the hub.
        folder: with config.json, the vocabulary and the weights.
        config: what config.json says.
        family: which decides tokens, network and poolings.
        is_hub: any node can get it from the hub.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    family: Family
    is_hub: bool = False

    @classmethod
    def find(cls, model: str) -> "ModelFiles":
        """
        Args:
            model: a folder, or a name on the hub; without an owner it is one of facebook's.

        Raises:
            UsageError: no such model, or transformers is not installed.
            DataError: a folder without a model of one of FAMILIES in it.
            JobError: the hub cannot be reached.
        """
        if known := cls.find_local(model):
            return known
        name = _hub_name(model)
        folder = _from_hub(name, model)
        return cls(name, folder, *_config(folder, model), is_hub=True)

    @classmethod
    def find_local(cls, model: str) -> "ModelFiles | None":
        """The same without a network: None for a model that `find` would look for on the hub.

        Raises:
            UsageError, DataError: see `find`.
        """
        require("embed", "transformers")
        folder = Path(os.path.abspath(os.path.expanduser(model)))
        if folder.is_dir():
            return cls(folder.name, folder, *_config(folder, model))
        if model[:1] in ("/", ".", "~") or model.count("/") > 1:
            raise DataError(f"--model {model}: no such folder")
        name = _hub_name(model)
        cached = _from_cache(name)
        return cls(name, cached, *_config(cached, model), is_hub=True) if cached else None

    @property
    def dim(self) -> int:
        """D, the width of the hidden layers."""
        return self.config[self.family.width_key]

    @property
    def layers(self) -> int:
        """The number of the last hidden layer."""
        return self.config[self.family.layers_key]

    @property
    def parameters(self) -> int:
        """About how many weights a residue is multiplied with."""
        return self.family.parameters(self.config)

    def outputs(self, settings: Embedding) -> tuple[PooledLayer, ...]:
        """The vectors that are made of each protein, in the order in which they stand side by side.

        Raises:
            UsageError: a pooling, layer or length that this model does not have.
        """
        have, last, most = self.family.poolings, self.layers, self.family.most_residues(self.config)
        pooling = settings.pooling or have[0]
        if pooling not in (*have, ALL):
            raise UsageError(f"--pooling {pooling}: {self.family.name} has {', '.join((*have, ALL))}")
        layers = [layer + last + 1 if layer < 0 else layer for layer in settings.layers] or [last]
        for wanted, layer in zip(settings.layers, layers, strict=False):
            if not 0 <= layer <= last:
                raise UsageError(f"--layer {wanted}: {self.name} has the layers 0 to {last}, or -1 to {-last - 1}")
            if layers.count(layer) > 1:
                raise UsageError(f"--layer {wanted}: layer {layer} is given twice")
        if most is not None and settings.max_length > most:
            raise UsageError(f"--max-length {settings.max_length}: {self.name} reads up to {most} residues")
        return outputs_of(layers, [name for name in EACH if name in have] if pooling == ALL else [pooling])

    def weights(self) -> list[Path]:
        """The files with the weights: safetensors where there are, else PyTorch's."""
        for suffix, entries in ((".safetensors", SAFETENSORS), (".bin", TORCH)):
            if any((self.folder / entry).exists() for entry in entries):
                return sorted(self.folder.glob(f"*{suffix}"))
        raise DataError(f"{self.folder}: no weights there; expected {SAFETENSORS[0]}")

    def digest(self) -> str:
        """Of configuration, vocabulary and weights: all files that decide the vectors."""
        whole = hashlib.blake2b(digest_size=16)
        for path in (self.folder / "config.json", *self.family.vocabulary_files(self.folder), *self.weights()):
            with path.open("rb") as file:
                while block := file.read(READ_BYTES):
                    whole.update(block)
        return whole.hexdigest()


def _config(folder: Path, model: str) -> tuple[dict[str, Any], Family]:
    """The configuration, with all numbers that are used, and the family that it describes."""
    config = _read_config(folder)
    try:
        family = family_of(config, folder)
    except DataError as error:
        raise DataError(f"--model {model}: {error}") from None
    for key in family.numbers():
        if not isinstance(config.get(key), int):
            raise DataError(f"{folder / 'config.json'}: {key} is {config.get(key)!r}; expected a whole number")
    return config, family


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    return config if isinstance(config, dict) else {}


def _hub_name(model: str) -> str:
    return model if "/" in model else f"{OWNER}/{model}"


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
    if not (folder / "config.json").exists() or missing_vocabulary(_read_config(folder), folder):
        return None
    return folder if any((folder / entry).exists() for entry in (*SAFETENSORS, *TORCH)) else None


def _from_hub(name: str, model: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = HfApi().model_info(name, timeout=TIMEOUT_S)
        held = {file.rfilename for file in info.siblings or []}
        weights = "*.safetensors*" if held & set(SAFETENSORS) else "pytorch_model*.bin*"
        described = Path(snapshot_download(name, revision=info.sha, allow_patterns=DESCRIPTIONS))
        _config(described, model)  # another family is refused before gigabytes of its weights come
        return Path(snapshot_download(name, revision=info.sha, allow_patterns=[*DESCRIPTIONS, weights]))
    except DataError:
        raise
    except RepositoryNotFoundError:
        raise UsageError(f"--model {model}: neither a folder here nor a model on the hub") from None
    except Exception as error:  # whatever the network and its libraries come up with
        raise JobError(
            f"--model {model}: no such folder here, and the hub cannot be reached ({first_line(error)}); on a machine "
            f"with a network run `hf download {name} --local-dir {name.split('/')[-1]}`, copy the folder here and give "
            "it as --model"
        ) from None
