"""ProtT5 (Elnaggar et al., TPAMI 2022), as ProtTrans describes it: words of one letter, U, Z, O and B read as X."""

from resvae_ray.embed.families.t5_encoder import T5Encoder

RARE = "UZOB"
WORD = "\u2581"  # SentencePiece's mark of the beginning of a word


class ProtT5(T5Encoder):
    """Rostlab/prot_t5_xl_half_uniref50-enc, prot_t5_xl_uniref50, prot_t5_xl_bfd; an end token and none in front."""

    name = "ProtT5"
    license = "AFL-3.0 (Rostlab)"

    def spelled(self, letter: str) -> str:
        return WORD + ("X" if letter in RARE else letter)

    def is_marked(self, vocabulary: dict[str, int]) -> bool:
        return "<AA2fold>" not in vocabulary  # ProstT5's
