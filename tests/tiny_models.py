"""A tiny random model per family of `embed`, as a folder that transformers reads, and the family's own recipe for it.

A recipe is what a family's authors publish: how a sequence becomes tokens, with their tokenizer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tiny_esm import write_tiny_esm
from transformers import EsmModel, EsmTokenizer


@dataclass(frozen=True)
class TinyModel:
    """One family.

    Attributes:
        family: its name.
        write: writes the model into a folder.
        tokens: of a sequence by the recipe: (tokenizer, sequence) to token numbers, with the special ones.
        tokenizer, network: load from the folder with transformers.
        before: special tokens in front of the residues; one is behind them.
    """

    family: str
    write: Callable[[Path], Any]
    tokenizer: Callable[[Path], Any]
    tokens: Callable[[Any, str], list[int]]
    network: Callable[[Path], Any]
    before: int

    def hidden_states(self, folder: Path, sequence: str) -> list[torch.Tensor]:
        """All layers over a sequence alone, (tokens, D) each."""
        numbers = torch.tensor([self.tokens(self.tokenizer(folder), sequence)])
        with torch.no_grad():
            output = self.network(folder).eval()(
                input_ids=numbers, attention_mask=torch.ones_like(numbers), output_hidden_states=True
            )
        return [state[0] for state in output.hidden_states]


def plain(tokenizer: Any, sequence: str) -> list[int]:
    return tokenizer(sequence)["input_ids"]


TINY = {
    "esm2": TinyModel("ESM-2", write_tiny_esm, EsmTokenizer.from_pretrained, plain, EsmModel.from_pretrained, 1),
    "esm1": TinyModel(
        "ESM-1b or 1v",
        lambda folder: write_tiny_esm(folder, position_embedding_type="absolute", emb_layer_norm_before=True),
        EsmTokenizer.from_pretrained,
        plain,
        EsmModel.from_pretrained,
        1,
    ),
}
