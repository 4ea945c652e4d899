"""Computes golden_families.json with the code that each family's authors publish.

    python tests/unit/embed/make_golden_families.py models FOLDER     in this project's environment
    python tests/unit/embed/make_golden_families.py vectors FOLDER    in an environment of its own, with
        fair-esm 2.0.0, transformers 4 and sentencepiece (ProtTrans', ProstT5's and Ankh3's README), ankh and esm

The first writes the tiny models, the second the mean over the residues of every layer, per family and sequence. A
package that the second environment lacks is skipped, and its part of golden_families.json stays.
"""

# pyright: reportMissingImports=false
# The packages of the second environment, two of which are called esm.

import json
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("golden_families.json")
SEQUENCES = {
    "short": "MKT",
    "ten": "ACDEFGHIKL",
    "rare": "MSUYWVNKRTPLIHGFEDCASTYXBZO",
    "long": "MASTKRLLEYVWQPNDGHICFM" * 5 + "SSY",
}
LAYERS = 3


def write_models(folder: Path) -> None:
    """The tiny models of the tests; ESM's with the width of the feed-forward and the epsilon of fair-esm."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tiny_esm import write_tiny_esm
    from tiny_models import TINY

    published = {"intermediate_size": 64, "layer_norm_eps": 1e-5}
    write_tiny_esm(folder / "esm2", **published)
    write_tiny_esm(folder / "esm1", **published, position_embedding_type="absolute", emb_layer_norm_before=True)
    for name in ("esmc", "prot_t5", "prost_t5", "ankh", "ankh3"):
        (folder / name).mkdir()
        TINY[name].write(folder / name)


def weights_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def renamed(weights: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Weights of transformers' ESM under fair-esm's names."""
    found = {}
    for old, tensor in weights.items():
        new = old
        for pattern, text in names.items():
            new = re.sub(pattern, text, new)
        if not re.search("contact_head|inv_freq|position_ids", old):
            found[new] = tensor
    return found


FAIR_NAMES = {
    r"embeddings\.word_embeddings": "embed_tokens",
    r"embeddings\.position_embeddings": "embed_positions",
    r"embeddings\.layer_norm": "emb_layer_norm_before",
    r"encoder\.emb_layer_norm_after": "emb_layer_norm_after",
    r"encoder\.layer\.(\d+)\.": r"layers.\1.",
    r"attention\.self\.(query|key|value)\.": lambda match: f"self_attn.{match[1][0]}_proj.",
    r"attention\.output\.dense": "self_attn.out_proj",
    r"attention\.LayerNorm": "self_attn_layer_norm",
    r"\.intermediate\.dense": ".fc1",
    r"\.output\.dense": ".fc2",
    r"(layers\.\d+)\.LayerNorm": r"\1.final_layer_norm",
    r"\.gamma$": ".weight",
    r"\.beta$": ".bias",
}


def fair_esm(folder: Path, network: Any, alphabet: Any) -> Callable[[str], list[Any]]:
    state = renamed(weights_of(folder), FAIR_NAMES)
    missing = network.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys, missing.unexpected_keys
    kept = [key for key in missing.missing_keys if not re.search("contact_head|lm_head|rot_emb|embed_positions", key)]
    assert not kept, kept
    convert = alphabet.get_batch_converter()

    def states(sequence: str) -> list[Any]:
        _, _, tokens = convert([("", sequence)])
        found = network.eval()(tokens, repr_layers=range(LAYERS + 1))["representations"]
        return [found[layer][0, 1 : len(sequence) + 1] for layer in range(LAYERS + 1)]

    return states


def esm2(folder: Path) -> Callable[[str], list[Any]]:
    import esm

    network = esm.model.esm2.ESM2(num_layers=LAYERS, embed_dim=16, attention_heads=4, alphabet="ESM-1b")
    return fair_esm(folder, network, network.alphabet)


def esm1(folder: Path) -> Callable[[str], list[Any]]:
    import esm

    alphabet = esm.Alphabet.from_architecture("roberta_large")
    options = Namespace(
        arch="roberta_large",
        layers=LAYERS,
        embed_dim=16,
        ffn_embed_dim=64,
        attention_heads=4,
        max_positions=1024,
        token_dropout=True,
        emb_layer_norm_before=True,
        logit_bias=True,
    )
    return fair_esm(folder, esm.model.esm1.ProteinBertModel(options, alphabet), alphabet)


def esmc(folder: Path) -> Callable[[str], list[Any]]:
    import torch
    from esm.models.esmc import ESMC
    from esm.tokenization import EsmSequenceTokenizer

    network, state = ESMC(16, 4, LAYERS, EsmSequenceTokenizer()), {}
    for old, tensor in weights_of(folder).items():
        state[old] = tensor
    for layer in range(LAYERS):
        of, to = f"layers.{layer}.", f"transformer.blocks.{layer}."
        projections = [state.pop(f"{of}self_attn.{letter}_proj.weight") for letter in "qkv"]
        state[f"{to}attn.layernorm_qkv.1.weight"] = torch.cat(projections)
        state[f"{to}ffn.1.weight"] = torch.cat([state.pop(f"{of}mlp.{name}_proj.weight") for name in ("gate", "up")])
        for old, new in (
            ("input_layernorm.weight", "attn.layernorm_qkv.0.weight"),
            ("input_layernorm.bias", "attn.layernorm_qkv.0.bias"),
            ("self_attn.q_norm.weight", "attn.q_ln.weight"),
            ("self_attn.k_norm.weight", "attn.k_ln.weight"),
            ("self_attn.o_proj.weight", "attn.out_proj.weight"),
            ("post_attention_layernorm.weight", "ffn.0.weight"),
            ("post_attention_layernorm.bias", "ffn.0.bias"),
            ("mlp.down_proj.weight", "ffn.3.weight"),
        ):
            state[to + new] = state.pop(of + old)
    state["transformer.norm.weight"], state["embed.weight"] = state.pop("norm.weight"), state.pop("embed_tokens.weight")
    missing = network.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys, missing.unexpected_keys
    assert all(key.startswith("sequence_head") for key in missing.missing_keys), missing.missing_keys

    def states(sequence: str) -> list[Any]:
        tokens = network.eval()._tokenize([sequence])
        output = network(tokens)
        inner = [network.embed(tokens)[0], *output.hidden_states[: LAYERS - 1, 0], output.embeddings[0]]
        return [state[1 : len(sequence) + 1] for state in inner]

    return states


def t5(folder: Path, tokens: Callable[[str], Any], before: int) -> Callable[[str], list[Any]]:
    from transformers import T5EncoderModel

    network = T5EncoderModel.from_pretrained(folder).eval()

    def states(sequence: str) -> list[Any]:
        ids = tokens(sequence)
        output = network(input_ids=ids.input_ids, attention_mask=ids.attention_mask, output_hidden_states=True)
        return [state[0, before : before + len(sequence)] for state in output.hidden_states]

    return states


def prot_t5(folder: Path, prefix: str = "") -> Callable[[str], list[Any]]:
    from transformers import T5Tokenizer

    tokenizer = T5Tokenizer.from_pretrained(folder, do_lower_case=False, legacy=True)

    def tokens(sequence: str) -> Any:
        words = prefix + " ".join(list(re.sub(r"[UZOB]", "X", sequence)))
        return tokenizer(words, add_special_tokens=True, padding="longest", return_tensors="pt")

    return t5(folder, tokens, 1 if prefix else 0)


def prost_t5(folder: Path) -> Callable[[str], list[Any]]:
    return prot_t5(folder, "<AA2fold> ")


def ankh(folder: Path) -> Callable[[str], list[Any]]:
    from ankh.models.ankh_transformers import get_specified_model
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
    network = get_specified_model(str(folder), generation=False, output_attentions=False, model_format="pt").eval()

    def states(sequence: str) -> list[Any]:
        ids = tokenizer.batch_encode_plus(
            [list(sequence)], add_special_tokens=True, padding=True, is_split_into_words=True, return_tensors="pt"
        )
        output = network(input_ids=ids["input_ids"], output_hidden_states=True)
        return [state[0, : len(sequence)] for state in output.hidden_states]

    return states


def ankh3(folder: Path) -> Callable[[str], list[Any]]:
    """The recipe of the model's page; the package ankh loads these models too, and puts no `[NLU]` in front."""
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")

    def tokens(sequence: str) -> Any:
        return tokenizer("[NLU]" + sequence, add_special_tokens=True, return_tensors="pt", is_split_into_words=False)

    return t5(folder, tokens, 1)


def write_vectors(folder: Path) -> None:
    import torch

    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for name, family in (
        ("esm2", esm2),
        ("esm1", esm1),
        ("esmc", esmc),
        ("prot_t5", prot_t5),
        ("prost_t5", prost_t5),
        ("ankh", ankh),
        ("ankh3", ankh3),
    ):
        try:
            states = family(folder / name)
        except (ImportError, AttributeError) as error:
            print(f"{name}: not computed: {error}", file=sys.stderr)
            continue
        with torch.no_grad():
            golden[name] = {
                text: [[round(number, 8) for number in layer.mean(0).tolist()] for layer in states(sequence)]
                for text, sequence in SEQUENCES.items()
            }
    GOLDEN.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    {"models": write_models, "vectors": write_vectors}[sys.argv[1]](Path(sys.argv[2]))
