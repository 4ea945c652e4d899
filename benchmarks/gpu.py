"""A training step, a search and an encoding on a GPU.

    python -m benchmarks.gpu step   [--published PUBLISHED] [--rows 5549] [--rounds 5]
    python -m benchmarks.gpu search FOLDER [--rows 5549] [--trials 50] [--epochs 80] [--sharing 1 2 4 8]
    python -m benchmarks.gpu encode FOLDER [--rows 1000000] [--rounds 5]

`step` times training epochs of the paper's model (1280/859/18, batch 32) on rows that lie on the GPU, beside the
published code's loop on the same rows and GPU (see benchmarks/epoch.py). `search` runs the paper's search on synthetic
proteins with 1, 2, 4, … trials on one GPU at the same time, each search from the same seed, and prints for each trials
an hour and the seconds from the first trial's beginning to the last one's end, in which Ray is up. `encode` gives rows
a second of our job with one GPU, of the same model on rows that lie on the GPU, and of reading the same files alone.
Every figure is wall time; nothing else should use the GPU. With --device cpu, and small numbers, it shows that it runs.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from benchmarks.encode import BATCH, DIM, LATENTS, Clock, encoded_by_us, write_features
from benchmarks.epoch import Ours, Published
from benchmarks.measuring import interleaved, report, verb
from resvae_ray import names
from resvae_ray.config import TrainingConfig
from resvae_ray.data.features import Features
from resvae_ray.data.stream import ResidentRows
from resvae_ray.data.synthetic import synthetic_batches, write_synthetic_csv
from resvae_ray.model.network import ResVAE
from resvae_ray.search.run.run import Run

HIDDEN = 859


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=["step", "search", "encode"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--published", type=Path, help="the folder of reference.py")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--sharing", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if options.question != "step" and options.folder is None:
        parser.error(f"{options.question} needs a FOLDER for what it makes")
    questions: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "step": _step,
        "search": _search,
        "encode": _encode,
    }
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    report(f"gpu {options.question}", gpu=gpu, **questions[options.question](options))


def _step(options: argparse.Namespace) -> dict[str, Any]:
    rows = options.rows or 5549
    matrix = torch.cat([torch.from_numpy(batch.features) for batch in synthetic_batches(rows, DIM)])
    resident = ResidentRows(matrix.to(options.device))
    config = TrainingConfig(z_dim=LATENTS, hidden_dim=HIDDEN, epochs=options.rounds + 1)
    contenders: dict[str, Callable[[], None]] = {"ours": _waited(Ours(config, resident), options.device)}
    if options.published:
        sys.path.insert(0, str(options.published))
        from reference import load_reference_class  # pyright: ignore[reportMissingImports]

        contenders["published"] = _waited(Published(config, resident, load_reference_class()), options.device)
    seconds = interleaved(contenders, options.rounds, Clock())
    steps = -(-rows // config.batch_size)
    milliseconds = {name: 1000 * taken / steps for name, taken in seconds.items()}
    return {"rows": rows, "ms_a_step": milliseconds, "ratio": seconds.get("published", 0.0) / seconds["ours"] or None}


def _waited(run: Callable[[], None], device: str) -> Callable[[], None]:
    """Waits until the GPU has done its work."""

    def whole() -> None:
        run()
        if device == "cuda":
            torch.cuda.synchronize()

    return whole


def _search(options: argparse.Namespace) -> dict[str, Any]:
    rows = options.rows or 5549
    options.folder.mkdir(parents=True)
    write_synthetic_csv(options.folder / "proteins.csv", rows, DIM)
    verb("import", options.folder / "proteins.csv", options.folder / "features.parquet", "--prefix", "ESM2_cls")
    verb("split", options.folder / "features.parquet", options.folder / "dataset")
    found = {}
    for sharing in options.sharing:
        run = options.folder / f"run-{sharing}"
        share = 1 / sharing if options.device == "cuda" else 0
        slots = ["--concurrent", sharing, "--cpus-per-trial", 1, "--gpus-per-trial", share]
        lengths = ["--trials", options.trials, "--epochs", options.epochs]
        verb("tune", options.folder / "dataset", run, *slots, *lengths)
        found[sharing] = _cost(Run.open(run))
    return {"rows": rows, "trials": options.trials, "by_trials_a_gpu": found}


def _cost(run: Run) -> dict[str, float]:
    epochs = [row for record in run.records() for row in record.epochs]
    seconds = max(row[names.TIME] for row in epochs) - min(row[names.TIME] - row[names.SECONDS] for row in epochs)
    return {"wall_s": seconds, "epochs": len(epochs), "trials_an_hour": 3600 * len(run.records()) / seconds}


def _encode(options: argparse.Namespace) -> dict[str, Any]:
    rows = options.rows or 1_000_000
    features, model = options.folder / "features", options.folder / "model"
    options.folder.mkdir(parents=True)  # new: it is removed at the end
    write_features(features, rows)
    network = ResVAE(DIM, HIDDEN, LATENTS).eval()
    network.save_pretrained(model)
    files = list(Features.open(features).files)
    contenders = {
        "reading": lambda: _read(files),
        "resident": _waited(lambda: _resident(network.to(options.device), rows, options.device), options.device),
        "ours": lambda: encoded_by_us(model, features, options.folder / "latents", 1, int(options.device == "cuda")),
    }
    seconds = interleaved(contenders, options.rounds, Clock())
    rates = {name: round(rows / taken) for name, taken in seconds.items()}
    shutil.rmtree(options.folder)
    return {"rows": rows, "rows_per_s": rates, "of_resident": rates["ours"] / rates["resident"]}


def _read(files: list[str]) -> None:
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(BATCH, columns=["id", "label", "features"]):
            batch.column("features").flatten().to_numpy()


@torch.inference_mode()
def _resident(network: ResVAE, rows: int, device: str) -> None:
    x = torch.randn(BATCH, DIM, device=device)
    for _ in range(-(-rows // BATCH)):
        network.encode(x)


if __name__ == "__main__":
    main()
