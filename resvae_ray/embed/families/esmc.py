"""ESM C (EvolutionaryScale 2024, Biohub 2026): rotary positions, ESM-2's residue tokens, which transformers knows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from resvae_ray.embed.families.family import Family, Tokens, letter_tokens
from resvae_ray.embed.settings import CLS, EOS, MEAN, PHO, SEGMENTS


class Esmc(Family):
    """biohub/ESMC-300M, ESMC-600M and ESMC-6B; the last layer is normalised, the others are not."""

    name = "ESM C"
    license = "MIT (Biohub), with third-party notices"
    model_type = "esmc"
    vocabularies = ()
    poolings = (CLS, EOS, MEAN, SEGMENTS, PHO)

    def describes(self, config: dict[str, Any], folder: Path) -> bool:
        return True

    def numbers(self) -> tuple[str, ...]:
        return (*super().numbers(), "intermediate_size")

    def parameters(self, config: dict[str, Any]) -> int:
        # Three matrices of the gated feed-forward, four of attention.
        width = config["hidden_size"]
        return config["num_hidden_layers"] * (3 * width * config["intermediate_size"] + 4 * width**2)

    def tokens(self, folder: Path) -> Tokens:
        from transformers import EsmcTokenizer

        # The weights are bound to this one vocabulary; a folder may have no file of it.
        numbers = EsmcTokenizer().get_vocab()
        letters = letter_tokens(folder, numbers, numbers["<unk>"], str)
        return Tokens(letters, (numbers["<cls>"],), numbers["<eos>"], numbers["<pad>"])

    def network_class(self) -> Callable[..., Any]:
        from transformers import EsmcModel

        return EsmcModel.from_pretrained
