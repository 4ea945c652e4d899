"""The tables of a RUN: what pandas itself would write, and no cell that a spreadsheet runs."""

from dataclasses import replace

import pandas as pd
import pytest

from resvae_ray.config import Config, Domain
from resvae_ray.search.run.epoch_log import Curve
from resvae_ray.search.run.tables import trials_table, write_trials
from resvae_ray.search.run.trainings import TrainingRecord

SPACE = {"z_dim": Domain(2, 6), "lr": Domain(1e-5, 1e-3), "beta": Domain(choices=(10, 100.5))}
ODD = [
    TrainingRecord(
        0,
        "complete",
        {"z_dim": 3, "lr": 1e-5, "beta": 10},
        Curve([1, 2], [12.0, 1 / 3], [0.5, 0.25], [1.0, 2.0], ["node", 'a "b",\nc'], lambda: []),
    ),
    TrainingRecord(1, "failed", {"z_dim": 4, "lr": 1e-300, "beta": 100.5}, failure="no, it\nis 'not'"),
    TrainingRecord(2, "running", {"z_dim": 5}),  # cut off as it began
]


def table_of(trials):
    return trials_table(trials, replace(Config(), space=SPACE))


@pytest.mark.parametrize("trials", [ODD, ODD[:1], ODD[1:2], ODD[2:], []], ids=len)
def test_the_csv_is_that_of_pandas(trials, tmp_path):
    table = table_of(trials)
    write_trials(tmp_path, table)
    assert (tmp_path / "trials.csv").read_bytes().decode() == table.to_csv(index=False, lineterminator="\n")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "trials.parquet"), table)


def test_a_table_has_whole_numbers_and_gaps():
    table = table_of(ODD)
    assert table["z_dim"].tolist() == [3, 4, 5]
    assert table["epochs"].tolist() == [2, 0, 0]
    assert table["beta"].tolist()[:2] == [10, 100.5]
    for name, missing in {"best_epoch": [False, True, True], "lr": [False, False, True]}.items():
        assert table[name].isna().tolist() == missing
    assert table_of([]).columns.tolist() == table.columns.tolist()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@x", "\tx"])
def test_a_spreadsheet_runs_no_cell(text, tmp_path):
    write_trials(tmp_path, table_of([replace(ODD[1], failure=text)]))
    read = pd.read_csv(tmp_path / "trials.csv")
    assert read["failure"].tolist() == [f"'{text}"]
    assert read["lr"].tolist() == [1e-300]
    assert pd.read_parquet(tmp_path / "trials.parquet")["failure"].tolist() == [text]
