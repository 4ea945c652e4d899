"""Computes golden_esm.json with protloc-mex-x's own code: python make_golden_esm.py FOLDER_WITH_PROTLOC_MEX_X

FOLDER is where `pip install --no-deps --target FOLDER protloc_mex_X==0.0.27` puts it. The numbers let the tests compare
with it where it is not at hand.
"""

import json
import sys
import tempfile
from pathlib import Path

import pandas as pd
from transformers import EsmModel, EsmTokenizer

sys.path.insert(0, sys.argv[1])
sys.path.insert(0, str(Path(__file__).parents[2]))
from protloc_mex_X.ESM2_fr import Esm2LastHiddenFeatureExtractor, phospho_feature_sim_cosine_weighted_average
from tiny_esm import DIM, SEQUENCES, SITES, write_tiny_esm


def let_values_be_written_to() -> None:
    """The package writes into what a table's `values` gives, which pandas 3 forbids."""
    values = pd.DataFrame.values.fget
    pd.DataFrame.values = property(lambda table: values(table).copy())


def main() -> None:
    let_values_be_written_to()
    with tempfile.TemporaryDirectory() as folder:
        write_tiny_esm(Path(folder))
        model = EsmModel.from_pretrained(folder, add_pooling_layer=False, output_hidden_states=True).eval()
        tokenizer = EsmTokenizer.from_pretrained(folder)
    extractor = Esm2LastHiddenFeatureExtractor(tokenizer, model, compute_segments=True, device_choose="cpu")
    proteins = pd.DataFrame({"id": SEQUENCES.keys(), "sequence": SEQUENCES.values()})
    vectors = extractor.get_last_hidden_features_combine(proteins, batch_size=2).set_index("id")
    families = {name: vectors.filter(regex=rf"^ESM2_{name}\d*_?") for name in ("cls", "eos", "mean", "segment")}
    sites = pd.DataFrame(
        [{"id": name, "sequence": SEQUENCES[name], "position": place} for name, at in SITES.items() for place in at]
    )
    on_sites = extractor.get_last_hidden_phosphorylation_position_feature(sites, phosphorylation_positions="position")
    on_sites = on_sites.set_index("id").drop(columns=["sequence", "position"]).astype(float)
    pho = phospho_feature_sim_cosine_weighted_average(DIM, families["cls"].copy(), on_sites)
    families["pho"] = pho.filter(regex="^pho_average")
    families["segments"] = families.pop("segment")
    golden = {
        name: dict(zip(table.index, table.to_numpy().round(8).tolist(), strict=True))
        for name, table in families.items()
    }
    Path(__file__).with_name("golden_esm.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
