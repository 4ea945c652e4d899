"""A job finds what one process finds, to the last bit."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_files import DIM, write_shard

from resvae_ray.data.checking import survey
from resvae_ray.data.checking.check import check_features
from resvae_ray.data.checking.survey import survey_parts
from resvae_ray.data.features import Features
from resvae_ray.errors import DataError, UsageError
from resvae_ray.jobs import portions
from resvae_ray.jobs.check_job import check_shards

pytestmark = pytest.mark.usefixtures("tasks_here")
ON_RAY: Any = {"address": "auto"}


@pytest.fixture
def faulty(shards):
    """A fourth shard with a missing id, a NaN, a repeated id and a repeated vector, as lists that may lack values."""
    rows = np.arange(20 * DIM, dtype=np.float32).reshape(20, DIM) * 3
    rows[4] = rows[3]
    ids: list[str | None] = [f"Q{number}" for number in range(20)]
    ids[7], ids[9] = None, "P005"
    values = rows.tolist()
    values[11][2] = float("nan")
    pq.write_table(
        pa.table({"id": ids, "features": values, "label": ["x"] * 20, "sequence": ["AC"] * 20}), shards / "d.parquet"
    )
    return shards


@pytest.mark.parametrize("part_rows", [1, 20, 50, 1000])
def test_the_figures_are_those_of_one_process(faulty, part_rows, monkeypatch):
    monkeypatch.setattr(survey, "SURVEY_PART_BYTES", 4 * DIM * part_rows)
    told = []
    alone = check_features(faulty)
    assert check_shards(faulty, on_ray=told.append, **ON_RAY) == alone
    assert (alone.missing, alone.nonfinite, alone.duplicate_ids) == (1, 1, 1)
    assert told == [len(survey_parts(Features.open(faulty)))]


def test_stretches_hold_each_row_once(shards, monkeypatch):
    monkeypatch.setattr(survey, "SURVEY_PART_BYTES", 4 * DIM * 20)
    found = survey_parts(Features.open(shards))
    assert [(s.start, s.rows) for s in found] == [(0, 21), (21, 26), (47, 21), (68, 21), (89, 11)]
    assert [s.end_groups for s in found] == [[3], [6, 1], [4], [7], [9]]


def test_shards_of_two_widths_are_named(shards):
    write_shard(shards / "c.parquet", 40, 60, dim=5)
    with pytest.raises(DataError, match=r"c\.parquet: row 1: a vector of 5 numbers, but 4 in the rows before"):
        check_shards(shards, **ON_RAY)


def test_a_beta_is_refused_before_ray_starts(shards):
    with pytest.raises(UsageError, match="--beta -1"):
        check_shards(shards, beta=-1, **ON_RAY)


def test_large_features_are_checked_on_ray_unasked(shards, monkeypatch):
    told = []
    check_shards(shards, on_ray=told.append)
    monkeypatch.setattr(portions, "LARGE_BYTES", 1)
    check_shards(shards, on_ray=told.append)
    assert told == [1]
