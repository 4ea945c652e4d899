"""Advice about what is given to `check` and `split`."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resvae_ray.cli import main
from resvae_ray.data.checking.check import check_features


def test_latents_in_the_place_of_features_are_noticed(tmp_path, capsys):
    matrix = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), 4)
    pq.write_table(pa.table({"id": [f"p{n}" for n in range(30)], "z": vectors}), tmp_path / "latents.parquet")
    assert check_features(tmp_path / "latents.parquet").warnings[0].startswith("the vectors are called 'z'")
    assert main(["split", str(tmp_path / "latents.parquet"), str(tmp_path / "d")]) == 0
    assert "warning: the vectors are called 'z', as the latents of `encode` are" in capsys.readouterr().err
