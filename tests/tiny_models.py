"""A tiny random model per family of `embed`, as a folder that transformers reads, and the family's own recipe for it.

A recipe is what a family's authors publish: how a sequence becomes tokens, with their tokenizer.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tiny_esm import wave, write_tiny_esm
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.processors import TemplateProcessing
from transformers import (
    EsmcConfig,
    EsmcModel,
    EsmcTokenizer,
    EsmModel,
    EsmTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import import_protobuf

STRUCTURE = "acdefghiklmnpqrstvwy"  # 3Di
RESIDUES = "ALGVSREDTIPKFQNYMHWCXBOUZ"  # in the order of ProtT5's vocabulary

WORD = "\u2581{}".format  # a residue as a word


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


def set_weights(model: Any, size: float = 0.5) -> Any:
    """The same numbers on every machine, of a size at which all layers matter."""
    with torch.no_grad():
        for number, (name, tensor) in enumerate(model.state_dict().items()):
            if "norm" in name:
                tensor.copy_(1 + wave(tensor.shape, 0.9 + 0.01 * number, 0.3))
            elif tensor.is_floating_point():
                tensor.copy_(wave(tensor.shape, 0.9 + 0.01 * number, size))
    return model


def write_tiny_esmc(folder: Path) -> None:
    """As on the hub: no file of the vocabulary. The feed-forward is as wide as the package `esm` makes it."""
    config = EsmcConfig(hidden_size=16, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4)
    set_weights(EsmcModel(config), 0.1).save_pretrained(folder)


def write_tiny_t5(folder: Path, vocabulary: int, gated: bool) -> None:
    """The encoder; ProtT5's feed-forward is not gated, Ankh's is."""
    config = T5Config(
        vocab_size=vocabulary,
        d_model=16,
        d_kv=4,
        d_ff=24,
        num_layers=3,
        num_heads=4,
        feed_forward_proj="gated-gelu" if gated else "relu",
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
    )
    set_weights(T5EncoderModel(config)).save_pretrained(folder)


def pieces(spelled: Callable[[str], str], *others: str) -> list[str]:
    return ["<pad>", "</s>", "<unk>", *map(spelled, RESIDUES), *others]


def write_spiece(folder: Path, texts: list[str]) -> None:
    """`spiece.model` with these pieces: control tokens, then letters by falling frequency."""
    sentencepiece: Any = import_protobuf()
    model = sentencepiece.ModelProto()
    for number, text in enumerate(texts):
        model.pieces.add(piece=text, score=-float(number), type={0: 3, 1: 3, 2: 2}.get(number, 1))
    model.trainer_spec.unk_id = 2
    (folder / "spiece.model").write_bytes(model.SerializeToString())


def write_tiny_prot_t5(folder: Path) -> None:
    write_tiny_t5(folder, 128, gated=False)
    write_spiece(folder, pieces(WORD))


def write_tiny_prost_t5(folder: Path) -> None:
    """The letters of structure and the two directions are in `added_tokens.json`, out of order."""
    write_tiny_t5(folder, 150, gated=False)
    write_spiece(folder, pieces(WORD))
    structure = {letter: 128 + number for number, letter in enumerate(STRUCTURE)}
    added = {"<fold2AA>": 148, **structure, "<AA2fold>": 149}
    (folder / "added_tokens.json").write_text(json.dumps(added))


def write_tiny_ankh(folder: Path, prefixes: tuple[str, ...] = ()) -> None:
    write_tiny_t5(folder, 144, gated=True)
    texts = pieces(str, *prefixes)
    backend = Tokenizer(Unigram([(text, -float(number)) for number, text in enumerate(texts)], unk_id=2))
    backend.add_special_tokens([*texts[:3], *prefixes])
    backend.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    backend.save(str(folder / "tokenizer.json"))


def word_tokenizer(folder: Path) -> Any:
    """The tokenizer that transformers makes of ProtT5's or ProstT5's pieces."""
    tokenizer = T5Tokenizer(vocab=[(text, -float(number)) for number, text in enumerate(pieces(WORD))], extra_ids=100)
    if (folder / "added_tokens.json").exists():
        tokenizer.add_tokens([*STRUCTURE, "<fold2AA>", "<AA2fold>"], special_tokens=True)
    return tokenizer


def spaced(tokenizer: Any, sequence: str) -> list[int]:
    """ProtTrans' recipe: rare residues become X, spaces between all; the tokenizer adds the end token."""
    return tokenizer(" ".join(re.sub("[UZOB]", "X", sequence)))["input_ids"]


def to_structure(tokenizer: Any, sequence: str) -> list[int]:
    """ProstT5's recipe: ProtTrans', with the direction in front."""
    return tokenizer("<AA2fold> " + " ".join(re.sub("[UZOB]", "X", sequence)))["input_ids"]


def letter_tokenizer(folder: Path) -> Any:
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


def split(tokenizer: Any, sequence: str) -> list[int]:
    """Ankh's recipe: a list of letters instead of a text."""
    return tokenizer(list(sequence), is_split_into_words=True)["input_ids"]


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
    "esmc": TinyModel("ESM C", write_tiny_esmc, lambda _: EsmcTokenizer(), plain, EsmcModel.from_pretrained, 1),
    "prot_t5": TinyModel("ProtT5", write_tiny_prot_t5, word_tokenizer, spaced, T5EncoderModel.from_pretrained, 0),
    "prost_t5": TinyModel(
        "ProstT5", write_tiny_prost_t5, word_tokenizer, to_structure, T5EncoderModel.from_pretrained, 1
    ),
    "ankh": TinyModel("Ankh", write_tiny_ankh, letter_tokenizer, split, T5EncoderModel.from_pretrained, 0),
    "ankh3": TinyModel(
        "Ankh",
        lambda folder: write_tiny_ankh(folder, ("[NLU]", "[S2S]")),
        letter_tokenizer,
        lambda tokenizer, sequence: plain(tokenizer, "[NLU]" + sequence),
        T5EncoderModel.from_pretrained,
        1,
    ),
}
