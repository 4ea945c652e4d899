"""All settings that decide the vectors of `embed`, each with the name of its option."""

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
        model: an ESM-2 by its name on the hub, or a folder.
        pooling: one of CHOICES["pooling"]; `all` is cls, eos, mean and segments.
        max_length: residues that the model reads at once.
        long: what becomes of longer sequences.
        batch_tokens: residues, special and padding tokens that go through the model at once.
        precision: of the matrix products (all else is float32); `auto` is bfloat16 on a GPU that has it.
    """

    model: str = "facebook/esm2_t33_650M_UR50D"
    pooling: str = CLS
    max_length: int = 1022
    long: str = ERROR
    batch_tokens: int = 8192
    precision: str = AUTO

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise UsageError(f"--{name} {value}: expected one of {', '.join(choices)}")
        for name in ("max_length", "batch_tokens"):
            if (value := getattr(self, name)) < 1:
                raise UsageError(f"--{name.replace('_', '-')} {value}: it must be at least 1")

    @property
    def poolings(self) -> tuple[str, ...]:
        """The vectors that are made of each protein, in the order in which they stand side by side."""
        return EACH if self.pooling == ALL else (self.pooling,)
