"""Jobs for the cluster, and checks that they completed."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from cluster import Submitted, wait

from resvae_ray import names
from resvae_ray.config import Config, DataConfig, Domain, ResourcesConfig, SearchConfig, TrainingConfig
from resvae_ray.config_file import config_to_toml
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.synthetic import synthetic_batches
from resvae_ray.search.run.epoch_log import read_epochs
from resvae_ray.search.run.run import Run

DIM = 32
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
TRIALS = 20
SEARCH = Config(
    name="three hosts",
    space={"z_dim": Domain(2, 6), "hidden_dim": Domain(8, 32), "lr": Domain(1e-3, 3e-2, log=True)},
    training=TrainingConfig(epochs=9),
    search=SearchConfig(
        trials=TRIALS, startup_trials=6, grace=3, reduction_factor=2.0, max_failures=0, checkpoint_every_s=0.0
    ),
    # Half of the CPUs, so that a trial whose host is lost finds another at once.
    resources=ResourcesConfig(concurrent=2, cpus_per_trial=1.0),
    data=DataConfig(mode="resident"),
)


def write_features(path: Path, rows: int, first: int) -> None:
    """FEATURES of synthetic proteins with numbers from `first` on."""
    with FeaturesWriter(path, DIM, {"model": "SYNTHETIC"}) as writer:
        for batch in synthetic_batches(rows, DIM, first):
            ids = pa.array([f"P{number:07d}" for number in range(first, first + len(batch))])
            writer.write(replace(batch, ids=ids))
            first += len(batch)


def write_proteins(path: Path, count: int) -> list[str]:
    """A FASTA file of random proteins; returns their ids."""
    draw, ids = random.Random(0), [f"P{number:04d}" for number in range(count)]
    path.write_text("".join(f">{name}\n{''.join(draw.choices(RESIDUES, k=draw.randint(20, 100)))}\n" for name in ids))
    return ids


def write_search(path: Path) -> Path:
    path.write_text(config_to_toml(SEARCH))
    return path


def wait_for_trial(run: Path, job: Submitted) -> tuple[int, str]:
    """Waits for a running trial to reach its second epoch; returns the trial and its host."""
    found: list[tuple[int, str]] = []

    def look() -> bool:
        assert job.running, job.end()
        if (run / names.RUN_FILE).exists():
            running = [record for record in Run.open(run).records() if record.state == names.RUNNING]
            found.extend((r.number, r.epochs[-1][names.NODE]) for r in running if 2 <= r.last_epoch <= 5)
        return bool(found)

    wait(look, 300, f"no trial at work in {run}")
    return found[0]


def wait_for_move(run: Path, number: int, host: str) -> float:
    """Seconds until a trial is reported from another host."""

    def moved() -> bool:
        rows = [row for row in read_epochs(run / names.EPOCHS_FILE) if row[names.NUMBER] == number]
        return rows[-1][names.NODE] != host

    return wait(moved, 300, f"trial {number} did not leave {host}")


def account(run: Path) -> None:
    """Each trial has ended and is recorded once, with all its epochs, and the best is exported as a MODEL."""
    opened = Run.open(run)
    records, table = opened.records(), pd.read_csv(run / names.TRIALS_CSV)
    assert list(table[names.NUMBER]) == list(range(TRIALS))
    assert [record.number for record in records] == list(range(TRIALS))
    states = Counter(record.state for record in records)
    assert states[names.COMPLETE] + states[names.PRUNED] == TRIALS, states
    assert list(table[names.STATE]) == [record.state for record in records]
    for record in records:
        assert [row[names.EPOCH] for row in record.epochs] == list(range(1, record.last_epoch + 1)), record.number
        ended = SEARCH.training.epochs if record.state == names.COMPLETE else record.last_epoch
        assert record.last_epoch == ended
    assert opened.trainings_left() == 0
    assert (run / names.MODEL_FOLDER / names.WEIGHTS_FILE).exists()
    assert opened.status()["best"]["best_val_loss"] == min(
        record.best_val_loss for record in records if record.best_val_loss is not None
    )


def encoded(features: Path, latents: Path) -> None:
    """LATENTS holds each row of FEATURES once, in the file of the same name and in the same order."""
    files = sorted(path.name for path in features.iterdir())
    assert sorted(path.name for path in latents.glob("*.parquet")) == files
    for file in files:
        before, after = (pq.read_table(folder / file, columns=[names.ID]) for folder in (features, latents))
        assert before.equals(after.cast(before.schema)), file


def hosts_at_work(run: Path) -> set[str]:
    return {row[names.NODE] for row in read_epochs(run / names.EPOCHS_FILE)}
