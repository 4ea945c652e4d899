"""Repeated vectors are those that agree in every number."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resvae_ray.data import features as features_module
from resvae_ray.data.checking import survey as survey_module
from resvae_ray.data.checking.survey import repeated_vectors, survey
from resvae_ray.data.features import Features
from resvae_ray.data.schema import vectors
from resvae_ray.progress import silent


@pytest.mark.parametrize("sketch", [1, 3, 32])
def test_vectors_that_agree_in_some_numbers_are_no_repeats(sketch, tmp_path, monkeypatch):
    monkeypatch.setattr(survey_module, "SKETCH", sketch)
    monkeypatch.setattr(features_module, "BATCH_BYTES", 4 * 20 * 7)
    matrix = np.zeros((90, 20), np.float32)
    matrix[:, 19] = np.random.default_rng(0).integers(0, 60, 90)  # the only number that differs
    matrix[10], matrix[80], matrix[88] = np.nan, 1, 1
    for name, part in (("a", matrix[:50]), ("b", matrix[50:])):
        table = pa.table({"id": [f"{name}{n}" for n in range(len(part))], "features": vectors(part)})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=13)
    source = Features.open(tmp_path)
    whole = np.delete(matrix, 10, axis=0)
    assert repeated_vectors(source, survey(source, silent)) == len(whole) - len(np.unique(whole, axis=0))


def test_no_row_group_is_read_again_where_nothing_repeats(make_features, monkeypatch):
    source = Features.open(make_features(50, 40))
    found = survey(source, silent)
    monkeypatch.setattr(Features, "tables", lambda *_: pytest.fail("read again"))
    assert repeated_vectors(source, found) == 0
