"""Tables that are very wide or very long: bounded memory and time, and the row by its number."""

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from reader import READ, REFUSED

from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.schema import FeatureBatch

pytestmark = pytest.mark.timeout(600)
ROWS, BAD = 1_000_050, 1_000_012  # the row from 1


def test_a_million_columns(reader, tmp_path):
    """Regression: a million columns took 9 GB."""
    path = tmp_path / "wide.csv"
    names = ",".join(f"f{number}" for number in range(1_000_000))
    path.write_text(f"id,{names}\n" + "".join(f"P{row}" + ",0.5" * 1_000_000 + "\n" for row in range(2)))
    outcome = reader.read("import", path)
    assert outcome.kind == REFUSED, outcome
    assert "wide.csv: 1,000,001 columns; a table of text may have 65,536" in outcome.text


def long_matrix():
    matrix = np.full((ROWS, 1), 0.5, np.float32)
    matrix[BAD - 1] = np.nan
    return pa.array([f"P{row}" for row in range(1, ROWS + 1)]), matrix


def test_not_a_number_in_a_long_csv(reader, tmp_path):
    ids, matrix = long_matrix()
    pacsv.write_csv(pa.table({"id": ids, "f0": matrix[:, 0], "f1": matrix[:, 0]}), tmp_path / "long.csv")
    outcome = reader.read("import", tmp_path / "long.csv")
    assert outcome.kind == REFUSED, outcome
    assert f"long.csv: row {BAD}, column f0: the value is missing" in outcome.text


@pytest.mark.parametrize("way", ["features", "import"])
def test_not_a_number_in_long_features(way, reader, tmp_path):
    ids, matrix = long_matrix()
    with FeaturesWriter(tmp_path / "long.parquet", 1, {}) as writer:
        writer.write(FeatureBatch(ids, matrix, pa.table({})))
    outcome = reader.read(way, tmp_path / "long.parquet")
    assert outcome.kind != READ, outcome
    assert f"long.parquet: row {BAD} (id P{BAD}), column features[0]: nan" in outcome.text
