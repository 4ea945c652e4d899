"""The contract of a family of language models: which files it has, which tokens it reads, which network it is.

A family decides nothing about batches, windows or poolings; `LanguageModel` does these for all of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from resvae_ray.errors import DataError, first_line

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"


@dataclass(frozen=True)
class Tokens:
    """The token numbers of a family.

    Attributes:
        letters: (128) of each ASCII character.
        first: in front of the residues: one, or none where the family has none.
        last: after the residues.
        pad: after the last token of a shorter sequence in a batch.
    """

    letters: np.ndarray
    first: tuple[int, ...]
    last: int
    pad: int


class Family(ABC):
    """One family.

    Attributes:
        name: as people write it.
        license: of the published weights, and who published them.
        model_type: in `config.json`.
        vocabularies: files with the tokens, of which a model has one or several; empty where transformers has them.
        poolings: that the family has, the default first.
        width_key, layers_key: in `config.json`.
    """

    name: ClassVar[str]
    license: ClassVar[str]
    model_type: ClassVar[str]
    vocabularies: ClassVar[tuple[str, ...]]
    poolings: ClassVar[tuple[str, ...]]
    width_key: ClassVar[str] = "hidden_size"
    layers_key: ClassVar[str] = "num_hidden_layers"

    @abstractmethod
    def describes(self, config: dict[str, Any], folder: Path) -> bool:
        """Whether a model of this `model_type`, with a vocabulary, is of this family."""

    @abstractmethod
    def tokens(self, folder: Path) -> Tokens:
        """
        Raises:
            DataError: the vocabulary cannot be read, or has no token for an amino acid.
        """

    @abstractmethod
    def network_class(self) -> Callable[..., Any]:
        """The `from_pretrained` of the network, which needs torch and transformers."""

    def numbers(self) -> tuple[str, ...]:
        """Keys of `config.json` that must be whole numbers."""
        return (self.width_key, self.layers_key)

    def parameters(self, config: dict[str, Any]) -> int:
        """About how many weights a residue is multiplied with: attention and feed-forward of all layers."""
        return 12 * config[self.layers_key] * config[self.width_key] ** 2

    def most_residues(self, config: dict[str, Any]) -> int | None:
        """The longest sequence that the model can read; None where positions are relative and nothing bounds it."""
        return None

    def vocabulary_files(self, folder: Path) -> list[Path]:
        """The files with the tokens that a model has."""
        return [path for name in self.vocabularies if (path := folder / name).exists()]


def letter_tokens(folder: Path, numbers: dict[str, int], unknown: int, spelled: Callable[[str], str]) -> np.ndarray:
    """The token of each ASCII character (128); `unknown` for those without one.

    Args:
        numbers: the vocabulary: a token's number by its text.
        spelled: the text of a letter's token.

    Raises:
        DataError: two amino acids share a token, or have none.
    """
    tokens = np.array([numbers.get(spelled(chr(character)), unknown) for character in range(128)])
    if len({unknown, *tokens[[ord(letter) for letter in AMINO_ACIDS]].tolist()}) <= len(AMINO_ACIDS):
        raise DataError(f"{folder}: its vocabulary does not have a token for each amino acid")
    return tokens


def load_tokenizer(tokenizer_class: Any, folder: Path) -> Any:
    """A tokenizer of transformers, from files alone.

    Raises:
        DataError: its files are damaged.
    """
    try:
        return tokenizer_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever a damaged file makes its readers raise
        raise DataError(f"{folder}: the tokenizer cannot be loaded: {first_line(error)}") from None
