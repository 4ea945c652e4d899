"""What the records of MODEL and FEATURES say of each other."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resvae_ray.cli import main
from resvae_ray.encode.encode_features import encode_features


@pytest.mark.parametrize(
    ("described", "differs"),
    [
        ({"pooling": "mean", "layer": 33}, ["pooling 'mean' instead of 'cls'"]),
        ({"pooling": "mean", "layer": "6"}, ["layer '6' instead of '33', pooling 'mean' instead of 'cls'"]),
        ({"pooling": "cls", "model": "models/esm2_t33"}, []),
        ({"model": "facebook/esm2_t6"}, ["model 'esm2_t6' instead of 'esm2_t33'"]),
        ({}, []),
    ],
)
def test_features_of_another_origin_are_noticed(described, differs, model, tmp_path, encoded, capsys):
    config = json.loads((model / "config.json").read_text())
    config["features"] = {"model": "facebook/esm2_t33", "layer": "33", "pooling": "cls"}
    (model / "config.json").write_text(json.dumps(config))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(24, np.float32)), 6)
    table = pa.table({"id": list("abcd"), "features": vectors})
    table = table.replace_schema_metadata({"resvae_ray": json.dumps(described)})
    pq.write_table(table, tmp_path / "features.parquet")
    said = []
    encode_features(model, tmp_path / "features.parquet", tmp_path / "z.parquet", on_other_origin=said.append)
    assert said == differs
    assert main(["encode", str(model), str(tmp_path / "features.parquet"), str(tmp_path / "again.parquet")]) == 0
    warned = f"warning: the model was trained on other features: {''.join(differs)}" in capsys.readouterr().err
    assert warned == bool(differs)
