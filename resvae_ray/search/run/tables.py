"""The tables of a search: one row per trial, and the paper's row for the best."""

import csv
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from resvae_ray import names
from resvae_ray.config import Config, TrainingConfig, field_type
from resvae_ray.files.atomic import staged_file
from resvae_ray.search.run.trainings import BestTrial, TrainingRecord

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def trials_table(trials: list[TrainingRecord], config: Config) -> pd.DataFrame:
    """One row per trial, as in trials.csv."""
    columns = TrainingRecord(0, "", dict.fromkeys(config.space)).row()
    rows = [trial.row() for trial in trials]
    whole = [name for name in config.space if field_type(TrainingConfig, name) is int]
    kinds = dict.fromkeys([names.NUMBER, *whole, names.BEST_EPOCH, names.EPOCHS], "Int64")
    # By column, because a search makes this table each time a trial ends; by row it takes twice as long. A trial that
    # was cut off as it began lacks parameters.
    table = pd.DataFrame(
        {name: [row.get(name, math.nan) for row in rows] for name in columns}, dtype=None if rows else object
    )
    return table.astype(kinds)


def result_table(best: BestTrial, config: Config, input_dim: int) -> pd.DataFrame:
    """The result table of the paper, with a search's best in it."""
    training = replace(config.training, **best.params)
    row = {
        "model": config.name,
        "z_dim": training.z_dim,
        "hidden_dim": training.hidden_dim,
        "learning_rate": training.lr,
        "eval_loss": best.best_val_loss,
        "loss_type": config.training.loss_type,  # by which all trials are measured
        "epoch": best.best_epoch,
        "input_dim": input_dim,
    }
    return pd.DataFrame([row])


def write_trials(folder: Path, table: pd.DataFrame) -> None:
    """trials.csv and trials.parquet, each replaced in one step."""
    _write_csv(folder / names.TRIALS_CSV, table)
    with staged_file(folder / names.TRIALS_PARQUET) as staging:
        table.to_parquet(staging, index=False)


def write_result(folder: Path, table: pd.DataFrame) -> None:
    """best.csv, replaced in one step."""
    _write_csv(folder / names.BEST_CSV, table)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    """The table as `DataFrame.to_csv` writes it, in half its time, with a `'` before what looks like a formula."""
    with staged_file(path) as staging, staging.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=os.linesep)
        writer.writerow(table.columns)
        writer.writerows(zip(*(_cells(column) for _, column in table.items()), strict=True))


def _cells(column: pd.Series) -> list[Any]:
    """The values of a column, None where there is none; a spreadsheet reads no text among them as a formula."""
    values = column.astype(object).where(column.notna(), None).tolist()
    if pd.api.types.is_numeric_dtype(column):
        return values
    return [f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value for value in values]
