"""All settings that decide the vectors of `embed`, each with the name of its option."""

from collections.abc import Sequence
from dataclasses import dataclass

from resvae_ray.errors import UsageError

CLS, EOS, MEAN, SEGMENTS, PHO, ALL = "cls", "eos", "mean", "segments", "pho", "all"
NUM_SEGMENTS = 10
EACH = (CLS, EOS, MEAN, SEGMENTS)
ERROR, TRUNCATE, SPLIT = "error", "truncate", "split"
AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"

CHOICES = {
    "pooling": (*EACH, PHO, ALL),
    "long": (ERROR, TRUNCATE, SPLIT),
    "precision": (AUTO, FLOAT32, BFLOAT16),
}


@dataclass(frozen=True)
class Embedding:
    """Settings of the embedding of a protein.

    Attributes:
        model: a protein language model by its name on the hub, or a folder.
        pooling: one of CHOICES["pooling"]; `all` is cls, eos, mean and segments, as far as the model has them. None is
            the first that the model's family has: cls, or mean without a first token.
        max_length: residues that the model reads at once.
        long: what becomes of longer sequences.
        batch_tokens: residues, special and padding tokens that go through the model at once.
        precision: of the matrix products (all else is float32); `auto` is bfloat16 on a GPU that has it.
        layers: 0 is the embeddings of the tokens, negative ones count from the end; none is the last.
    """

    model: str = "facebook/esm2_t33_650M_UR50D"
    pooling: str | None = None
    max_length: int = 1022
    long: str = ERROR
    batch_tokens: int = 8192
    precision: str = AUTO
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) is not None and value not in choices:
                raise UsageError(f"--{name} {value}: expected one of {', '.join(choices)}")
        for name in ("max_length", "batch_tokens"):
            if (value := getattr(self, name)) < 1:
                raise UsageError(f"--{name.replace('_', '-')} {value}: it must be at least 1")


@dataclass(frozen=True)
class PooledLayer:
    """One vector per protein: a pooling of a layer, which becomes one FEATURES.

    Attributes:
        name: of its folder where there are several: the pooling, or `layer-N` with the pooling if there are several.
    """

    name: str
    layer: int
    pooling: str


def outputs_of(layers: Sequence[int], poolings: Sequence[str]) -> tuple[PooledLayer, ...]:
    """The vectors of all poolings of all layers, layer by layer."""
    if len(layers) == 1:
        return tuple(PooledLayer(pooling, layers[0], pooling) for pooling in poolings)
    return tuple(
        PooledLayer(f"layer-{layer}" if len(poolings) == 1 else f"layer-{layer}-{pooling}", layer, pooling)
        for layer in layers
        for pooling in poolings
    )
