"""An ESM-2 of a few thousand weights, given by a formula, as a folder that transformers reads."""

from pathlib import Path

import torch
from transformers import EsmConfig, EsmModel, EsmTokenizer

SPECIAL = ["<cls>", "<pad>", "<eos>", "<unk>"]
VOCABULARY = [*SPECIAL, *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]  # ESM-2's
DIM = 16
SEQUENCES = {
    "short": "MKT",
    "ten": "ACDEFGHIKL",
    "selenium": "MSUYWVNKRTPLIHGFEDCASTY",
    "unknown": "MXXBZOJAKLSTRPEWGVYQDNCHFIMSSTPLLKAAGVYTSRQEDNWCHM",
    "long": "MASTKRLLEYVWQPNDGHICFM" * 5 + "SSY",
}
SITES = {"ten": [2, 9], "selenium": [2, 4, 10, 22], "long": [1, 3, 113]}


def wave(shape: torch.Size, pace: float, size: float) -> torch.Tensor:
    count = shape.numel()
    return (size * torch.sin(pace * torch.arange(1, count + 1, dtype=torch.float64))).reshape(shape).float()


def write_tiny_esm(folder: Path, dim: int = DIM, layers: int = 3, **config: object) -> Path:
    """Configuration, vocabulary and weights; the same numbers on every machine."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    settings = {
        "vocab_size": len(VOCABULARY),
        "mask_token_id": 32,
        "pad_token_id": 1,
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * dim,
        "position_embedding_type": "rotary",
        "max_position_embeddings": 1026,
        "token_dropout": True,
        "emb_layer_norm_before": False,
    }
    model = EsmModel(EsmConfig(**{**settings, **config}), add_pooling_layer=False)
    with torch.no_grad():
        for number, (name, tensor) in enumerate(model.state_dict().items()):
            if name.endswith("LayerNorm.weight") or name.endswith("layer_norm_after.weight"):
                tensor.copy_(1 + wave(tensor.shape, 0.9 + 0.01 * number, 0.3))
            elif tensor.is_floating_point() and "inv_freq" not in name:
                tensor.copy_(wave(tensor.shape, 0.9 + 0.01 * number, 0.5))
    model.save_pretrained(folder)
    return folder
