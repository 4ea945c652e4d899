"""The tables of a search: one row per trial, and the paper's row for the best."""

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
    columns = list(TrainingRecord(0, "", dict.fromkeys(config.space)).row())
    whole = [name for name in config.space if field_type(TrainingConfig, name) is int]
    kinds = dict.fromkeys([names.NUMBER, *whole, names.BEST_EPOCH, names.EPOCHS], "Int64")
    return pd.DataFrame([trial.row() for trial in trials], columns=columns).astype(kinds)


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
    with staged_file(path) as staging:
        _as_cells(table).to_csv(staging, index=False)


def _as_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a `'` before each text that a spreadsheet would read as a formula."""
    texts = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: [_as_cell(value) for value in table[name]] for name in texts})


def _as_cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value
