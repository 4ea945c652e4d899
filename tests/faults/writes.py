"""Everything that the package writes, each as a write of its own that is the same whenever it is done.

A `Write` makes the old state in a folder, writes the new one, and sees which one is there, part by part. A part that is
seen as neither the old nor the new one is half-written.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from resvae_ray import names
from resvae_ray.config import Config, Domain, TrainingConfig
from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.importers import import_features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.stream import ResidentRows
from resvae_ray.data.synthetic import synthetic_batches, write_synthetic_csv
from resvae_ray.encode import encode_features as job
from resvae_ray.errors import UsageError
from resvae_ray.files.atomic import replace_folder
from resvae_ray.model.network import ResVAE
from resvae_ray.model.training import Training
from resvae_ray.on_ray import pieces
from resvae_ray.on_ray.tasks import Outcome
from resvae_ray.search.callbacks.recorder import METRICS, EpochLog
from resvae_ray.search.run.epoch_log import read_epochs
from resvae_ray.search.run.run import Run
from resvae_ray.search.study import frozen_trials, open_study, unfinished
from resvae_ray.search.tpe import StudySearch
from resvae_ray.search.worker_report import Epoch

CONFIG = Config(
    space={"z_dim": Domain(2, 4), "lr": Domain(1e-4, 1e-2, log=True)}, training=TrainingConfig(hidden_dim=8, epochs=2)
)
Seen = dict[str, Any]


@dataclass(frozen=True)
class Write:
    """One of them; each function gets the folder in which all this happens.

    Attributes:
        prepare: makes the old state.
        write: brings the new one about, also from what a killed `write` has left.
        seen: what is there, by the names of parts that are written one after another.
    """

    prepare: Callable[[Path], object]
    write: Callable[[Path], object]
    seen: Callable[[Path], Seen]


def digest(path: Path) -> str | None:
    """Returns a digest of a file's content, or None if the file does not exist."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() if path.exists() else None


def features(folder: Path, files: int = 1) -> None:
    (folder / "features").mkdir()
    for number in range(files):
        with FeaturesWriter(folder / "features" / f"{number}.parquet", 6, {}) as writer:
            for batch in synthetic_batches(40, 6, number):
                writer.write(batch)


# --- FEATURES, DATASET ---------------------------------------------------------------------------------------------


def prepare_csv(folder: Path) -> None:
    write_synthetic_csv(folder / "a.csv", 60, 6)


def import_once(folder: Path) -> None:
    if not (folder / "out").exists():
        import_features(folder / "a.csv", folder / "out")


def split_once(folder: Path) -> None:
    if not (folder / "dataset").exists():
        split_features(folder / "features", folder / "dataset")


def seen_features(folder: Path) -> Seen:
    return {"features": Features.open(folder / "out").rows if (folder / "out").exists() else None}


def seen_dataset(folder: Path) -> Seen:
    there = (folder / "dataset").exists()
    return {"dataset": Dataset.open(folder / "dataset").fingerprint if there else None}


# --- RUN -----------------------------------------------------------------------------------------------------------


def prepare_dataset(folder: Path) -> None:
    features(folder)
    split_features(folder / "features", folder / "dataset")


def create_run(folder: Path) -> None:
    if not (folder / "run" / names.RUN_FILE).exists():
        Run.create(folder / "run", CONFIG, Dataset.open(folder / "dataset"), {"study": "s"})


def seen_run(folder: Path) -> Seen:
    there = (folder / "run" / names.RUN_FILE).exists()
    return {"run.json": Run.open(folder / "run").info["study"] if there else None}


def prepare_run(folder: Path) -> None:
    prepare_dataset(folder)
    create_run(folder)
    Run.open(folder / "run").begin_session(
        CONFIG, Dataset.open(folder / "dataset"), {"started": "2026-11-29T08:00:00Z"}
    )


def begin_session(folder: Path) -> None:
    run = Run.open(folder / "run")
    if len(run.info["sessions"]) == 1:
        longer = replace(CONFIG, search=replace(CONFIG.search, trials=80))
        run.begin_session(longer, Dataset.open(folder / "dataset"), {"started": "2026-11-29T09:00:00Z"})


def seen_session(folder: Path) -> Seen:
    run = Run.open(folder / "run")
    trials = load_config(folder / "run" / names.SEARCH_FILE).search.trials
    return {"search.toml": trials, "run.json": (len(run.info["sessions"]), run.config.search.trials)}


def journal(folder: Path) -> Path:
    return folder / names.JOURNAL_FILE


def prepare_study(folder: Path) -> None:
    StudySearch(open_study(journal(folder), "s"), CONFIG, []).suggest("first")


def tell(folder: Path) -> None:
    """Trial 0 is complete."""
    study = open_study(journal(folder), "s")
    if take_up := unfinished(study):
        search = StudySearch(study, CONFIG, take_up)
        search.suggest("first")
        search.on_trial_complete("first", {names.EPOCH: 2, names.BEST_VAL_LOSS: 3.0})


def seen_told(folder: Path) -> Seen:
    (trial,) = frozen_trials(journal(folder), "s")
    return {"epochs": dict(trial.intermediate_values), "state": (trial.state, trial.values)}


def propose(folder: Path) -> None:
    """Trial 1 is proposed; one that was started is resumed."""
    study = open_study(journal(folder), "s")
    if len(study.trials) == 1 or len(study.trials[1].params) < len(CONFIG.space):
        StudySearch(study, CONFIG, [1] if len(study.trials) == 2 else []).suggest("second")


def seen_proposed(folder: Path) -> Seen:
    trials = frozen_trials(journal(folder), "s")
    params = trials[1].params if len(trials) == 2 else {}
    return {"begun": len(trials)} | {name: params.get(name) for name in CONFIG.space}


def log_epoch(folder: Path, number: int) -> None:
    log = EpochLog(folder / names.EPOCHS_FILE)
    log.write(number, Epoch(dict.fromkeys(METRICS, 1.5) | {names.EPOCH: 1}, node="a" * 300))
    log.close()


def seen_epochs(folder: Path) -> Seen:
    return {"epochs": [row[names.NUMBER] for row in read_epochs(folder / names.EPOCHS_FILE)]}


def prepare_tables(folder: Path) -> None:
    prepare_run(folder)
    run = folder / "run"
    prepare_study(run)
    Run.open(run).write_tables()
    tell(run)
    log_epoch(run, 0)


def seen_tables(folder: Path) -> Seen:
    return {name: digest(folder / "run" / name) for name in (names.TRIALS_CSV, names.TRIALS_PARQUET)}


# --- a trial, MODEL ------------------------------------------------------------------------------------------------


def training(folder: Path, epochs: int) -> Training:
    rows = ResidentRows(torch.linspace(-1, 1, 120).reshape(20, 6))
    begun = Training(TrainingConfig(z_dim=2, hidden_dim=8, epochs=2, batch_size=8, lr=1e-2), rows, rows)
    begun.resume(folder / "trial")
    while begun.epoch < epochs:
        next(begun.epochs())
    return begun


def seen_training(folder: Path) -> Seen:
    begun = training(folder, 0)
    weights = [tensor.sum().item() for model in (begun.model, begun.best_model()) for tensor in model.parameters()]
    return {"checkpoint": (begun.epoch, begun.last.get(names.VAL_LOSS), weights)}


def model(seed: int) -> ResVAE:
    torch.manual_seed(seed)
    return ResVAE(6, 8, 3)


def replace_model(folder: Path, seed: int) -> None:
    with replace_folder(folder / "model") as fresh:
        model(seed).save_pretrained(fresh, {"best_epoch": seed, "best_val_loss": 1.0})


def save_once(folder: Path) -> None:
    if not (folder / "model").exists():
        model(0).save_pretrained(folder / "model", {"best_epoch": 1, "best_val_loss": 1.0})


def seen_model(folder: Path) -> Seen:
    if not (folder / "model").exists():
        return {"model": None}
    first = next(ResVAE.from_pretrained(folder / "model").parameters())
    return {"model": (first.sum().item(), sorted(path.name for path in (folder / "model").iterdir()))}


# --- LATENTS -------------------------------------------------------------------------------------------------------


@contextmanager
def here() -> Iterator[None]:
    """Tasks run in this process, one after another."""

    def run(task: Any, missing: Any, share: Any, **arguments: Any) -> Iterator[Outcome]:
        for position, piece in enumerate(missing):
            yield Outcome(position, task(piece, **arguments), None)

    with patch.object(pieces, "try_tasks", run), patch.object(pieces, "ray_session", lambda _: nullcontext([])):
        yield


def prepare_latents(folder: Path) -> None:
    features(folder, 3)
    model(0).save_pretrained(folder / "model")
    (folder / "features" / "0.parquet").touch()


def encode(folder: Path, latents: str) -> None:
    # A file that is there is refused, and what was left beside it removed.
    refused = latents.endswith(".parquet") and (folder / latents).exists()
    with here(), suppress(UsageError) if refused else nullcontext():
        job.encode_features(folder / "model", folder / "features", folder / latents, job.Output(sample=True))


def seen_latents(folder: Path) -> Seen:
    files = [f"latents/{number}.parquet" for number in range(3)] + ["latents.parquet"]
    return {name: digest(folder / name) for name in files}


WRITES = {
    "import": Write(prepare_csv, import_once, seen_features),
    "split": Write(features, split_once, seen_dataset),
    "run.json, new": Write(prepare_dataset, create_run, seen_run),
    "run.json, a session more": Write(prepare_run, begin_session, seen_session),
    "study.journal, told": Write(prepare_study, tell, seen_told),
    "study.journal, proposed": Write(prepare_study, propose, seen_proposed),
    "epochs.jsonl": Write(lambda folder: log_epoch(folder, 0), lambda folder: log_epoch(folder, 1), seen_epochs),
    "tables": Write(prepare_tables, lambda folder: Run.open(folder / "run").write_tables(), seen_tables),
    "checkpoint, new": Write(
        lambda folder: None, lambda folder: training(folder, 1).save(folder / "trial"), seen_training
    ),
    "checkpoint": Write(
        lambda folder: training(folder, 1).save(folder / "trial"),
        lambda folder: training(folder, 2).save(folder / "trial"),
        seen_training,
    ),
    "MODEL, new": Write(lambda folder: None, save_once, seen_model),
    "MODEL": Write(lambda folder: replace_model(folder, 1), lambda folder: replace_model(folder, 2), seen_model),
    "LATENTS": Write(prepare_latents, lambda folder: encode(folder, "latents"), seen_latents),
    "LATENTS, one file": Write(prepare_latents, lambda folder: encode(folder, "latents.parquet"), seen_latents),
}
