"""Ankh (Elnaggar et al. 2023) and Ankh3 (Alsamkary et al. 2025): letters without spaces, which would be unknown tokens.

Ankh3 was trained with `[NLU]` or `[S2S]` in front; `[NLU]` is the one that its authors take for embeddings.
"""

from resvae_ray.embed.families.t5_encoder import T5Encoder

UNDERSTAND = "[NLU]"


class Ankh(T5Encoder):
    """ElnaggarLab/ankh-base, ankh-large, ankh2-ext1, ankh2-ext2, ankh3-large and ankh3-xl."""

    name = "Ankh"
    license = "CC BY-NC-SA 4.0, not for commercial use (Elnaggar Lab)"

    def spelled(self, letter: str) -> str:
        return letter

    def is_marked(self, vocabulary: dict[str, int]) -> bool:
        return True

    def first(self, vocabulary: dict[str, int]) -> tuple[int, ...]:
        return (vocabulary[UNDERSTAND],) if UNDERSTAND in vocabulary else ()
