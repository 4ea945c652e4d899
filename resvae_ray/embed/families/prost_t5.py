"""ProstT5 (Heinzinger et al., NAR Genomics and Bioinformatics 2024): ProtT5 that also reads structure.

`<AA2fold>` in front says that residues follow. Its letters of structure (3Di) are the same in lower case.
"""

from resvae_ray.embed.families.prot_t5 import ProtT5

RESIDUES_FOLLOW = "<AA2fold>"


class ProstT5(ProtT5):
    """Rostlab/ProstT5 and ProstT5_fp16; the tokens at both ends are not part of a pooling but `eos`."""

    name = "ProstT5"
    license = "MIT (Rostlab)"

    def is_marked(self, vocabulary: dict[str, int]) -> bool:
        return RESIDUES_FOLLOW in vocabulary

    def first(self, vocabulary: dict[str, int]) -> tuple[int, ...]:
        return (vocabulary[RESIDUES_FOLLOW],)
