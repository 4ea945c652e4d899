"""ESM-1b (Rives et al., PNAS 2021) and ESM-1v (Meier et al., NeurIPS 2021): ESM-2's tokens with learned positions."""

from pathlib import Path
from typing import Any

from resvae_ray.embed.families.esm2 import Esm2


class Esm1(Esm2):
    """facebook/esm1b_t33_650M_UR50S and esm1v_t33_650M_UR90S_1 to _5; there is a position for each of 1022 residues."""

    name = "ESM-1b or 1v"

    def describes(self, config: dict[str, Any], folder: Path) -> bool:
        return config.get("position_embedding_type", "absolute") == "absolute" and not config.get("is_folding_model")

    def most_residues(self, config: dict[str, Any]) -> int | None:
        # Positions begin after pad's own, and two are of <cls> and <eos>.
        return config["max_position_embeddings"] - config["pad_token_id"] - 3
