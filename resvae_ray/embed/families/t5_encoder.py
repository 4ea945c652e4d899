"""The base of the T5 families: the encoder as network, relative positions, an end token, a vocabulary of residues.

They have no token in front that stands for the protein, so neither `cls` nor the cosine to it that `pho` takes.
"""

import json
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resvae_ray.embed.families.family import AMINO_ACIDS, Family, Tokens, letter_tokens
from resvae_ray.embed.settings import EOS, MEAN, SEGMENTS
from resvae_ray.errors import DataError, first_line

WHOLE, PIECES = "tokenizer.json", "spiece.model"
MOST_TOKENS = 1024  # of a vocabulary of residues; T5 for text has 32,128


class T5Encoder(Family):
    """A protein language model with T5's encoder; the last layer is normalised, the others are not."""

    model_type = "t5"
    vocabularies = (WHOLE, PIECES)
    poolings = (MEAN, EOS, SEGMENTS)
    width_key = "d_model"
    layers_key = "num_layers"

    def describes(self, config: dict[str, Any], folder: Path) -> bool:
        vocabulary = vocabulary_of(folder)
        letters = {self.spelled(letter) for letter in AMINO_ACIDS}
        return len(vocabulary) <= MOST_TOKENS and letters <= vocabulary.keys() and self.is_marked(vocabulary)

    @abstractmethod
    def spelled(self, letter: str) -> str:
        """The text of a residue's token."""

    @abstractmethod
    def is_marked(self, vocabulary: dict[str, int]) -> bool:
        """Whether a vocabulary that has `spelled` of all amino acids is this family's."""

    def first(self, vocabulary: dict[str, int]) -> tuple[int, ...]:
        """The token in front of the residues, if there is one."""
        return ()

    def numbers(self) -> tuple[str, ...]:
        return (*super().numbers(), "d_kv", "d_ff", "num_heads")

    def parameters(self, config: dict[str, Any]) -> int:
        gated = str(config.get("feed_forward_proj", "")).startswith("gated")
        attention = 4 * config["d_model"] * config["num_heads"] * config["d_kv"]
        return config["num_layers"] * (attention + (3 if gated else 2) * config["d_model"] * config["d_ff"])

    def tokens(self, folder: Path) -> Tokens:
        vocabulary = vocabulary_of(folder)
        try:
            last, pad, unknown = (vocabulary[name] for name in ("</s>", "<pad>", "<unk>"))
        except KeyError as error:
            raise DataError(f"{folder}: its vocabulary does not have {error.args[0]}") from None
        return Tokens(letter_tokens(folder, vocabulary, unknown, self.spelled), self.first(vocabulary), last, pad)

    def network_class(self) -> Callable[..., Any]:
        from transformers import T5EncoderModel

        return T5EncoderModel.from_pretrained


def vocabulary_of(folder: Path) -> dict[str, int]:
    """A token's number by its text, also of those added to the vocabulary later.

    The files are read as they are: a tokenizer of transformers needs the package sentencepiece for `spiece.model`, and
    may number added tokens anew.

    Raises:
        DataError: a damaged file.
    """
    path = folder / WHOLE if (folder / WHOLE).exists() else folder / PIECES
    try:
        vocabulary = _whole(path) if path.name == WHOLE else _pieces(path)
        if (path := folder / "added_tokens.json").exists():
            vocabulary |= json.loads(path.read_text())
        if (path := folder / "tokenizer_config.json").exists():
            added = json.loads(path.read_text()).get("added_tokens_decoder", {})
            vocabulary |= {token["content"]: int(number) for number, token in added.items()}
        return vocabulary
    except Exception as error:  # whatever a damaged file makes its readers raise
        raise DataError(f"{path}: cannot be read: {first_line(error)}") from None


def _whole(path: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path)).get_vocab()


def _pieces(path: Path) -> dict[str, int]:
    from transformers.convert_slow_tokenizer import import_protobuf

    sentencepiece: Any = import_protobuf()
    model = sentencepiece.ModelProto()
    model.ParseFromString(path.read_bytes())
    return {piece.piece: number for number, piece in enumerate(model.pieces)}
