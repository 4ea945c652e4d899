"""ESM-2 (Lin et al., Science 2023): rotary positions, `<cls>` in front and `<eos>` at the end."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from resvae_ray.embed.families.family import Family, Tokens, letter_tokens, load_tokenizer
from resvae_ray.embed.settings import CLS, EOS, MEAN, PHO, SEGMENTS
from resvae_ray.errors import DataError


class Esm2(Family):
    """facebook/esm2_t6_8M_UR50D to esm2_t48_15B_UR50D; the last layer is normalised, the others are not."""

    name = "ESM-2"
    license = "MIT (Meta)"
    model_type = "esm"
    vocabularies = ("vocab.txt",)
    poolings = (CLS, EOS, MEAN, SEGMENTS, PHO)

    def describes(self, config: dict[str, Any], folder: Path) -> bool:
        return config.get("position_embedding_type") == "rotary" and not config.get("is_folding_model")

    def numbers(self) -> tuple[str, ...]:
        return (*super().numbers(), "max_position_embeddings", "pad_token_id")

    def tokens(self, folder: Path) -> Tokens:
        from transformers import EsmTokenizer

        tokenizer = load_tokenizer(EsmTokenizer, folder)
        letters = letter_tokens(folder, tokenizer.get_vocab(), tokenizer.unk_token_id, str)
        first, last, pad = tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        if None in (first, last, pad) or len({first, last, pad, tokenizer.unk_token_id}) < 4:
            raise DataError(f"{folder}: its vocabulary does not have <cls>, <eos>, <pad> and <unk>")
        return Tokens(letters, (first,), last, pad)

    def network_class(self) -> Callable[..., Any]:
        from transformers import EsmModel

        return partial(EsmModel.from_pretrained, add_pooling_layer=False)
