"""How fast is an encoding beside a copy of the same columns, a plain loop, and a loop over rows?

    python -m benchmarks.encode FOLDER [--rows 200000] [--rounds 5] [--hidden-dim 859]

writes FEATURES (rows × 1280, in files as `import` makes them) into FOLDER and, in turn, in every round: copies id,
label and as many numbers as there are latents with plain pyarrow; encodes with a plain loop of pyarrow and PyTorch on
one thread, and with two such loops side by side, which is what two cores can do; encodes with `encode_features` on a
Ray of one core and of two (started beforehand, not measured; its workers are). Prints the medians in rows per second,
their ratios, and what a loop over single proteins comes to. With `--hidden-dim 16` the network costs nothing, and what
is compared is the reading and writing.
"""

import argparse
import multiprocessing
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch

from benchmarks.import_split import blocks
from benchmarks.measuring import interleaved, report
from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.model.network import ResVAE

DIM, LATENTS, BATCH = 1280, 18, 4096
SINGLE_ROWS = 2000  # that the loop over rows is timed on


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden-dim", type=int, default=859)
    options = parser.parse_args()
    torch.set_num_threads(1)
    features, model = options.folder / "features", options.folder / "model"
    write_features(features, options.rows)
    ResVAE(DIM, options.hidden_dim, LATENTS).eval().save_pretrained(model)
    files = list(Features.open(features).files)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        seconds = _measured(options, features, model, files, pool)
    rates = {name: round(options.rows / taken) for name, taken in seconds.items()}
    rates["row by row"] = round(_single_rows(model, files[0]))
    of_ours = {
        name: {peer: rates[name] / rate for peer, rate in rates.items()} for name in rates if name.startswith("ours")
    }
    report("encode", rows=options.rows, hidden_dim=options.hidden_dim, rows_per_s=rates, ratios=of_ours)
    shutil.rmtree(options.folder)


def _measured(
    options: argparse.Namespace, features: Path, model: Path, files: list[str], pool: Executor
) -> dict[str, float]:
    """Seconds of each contender."""
    halves = [files[::2], files[1::2]], [options.folder / "first", options.folder / "second"], [model, model]
    contenders = {
        "copy": lambda: _each(files, options.folder / "copied", _first_numbers),
        "loop": lambda: _loop(files, options.folder / "looped", model),
        "2 loops": lambda: list(pool.map(_loop, *halves)),
        "ours, 1 core": lambda: encoded_by_us(model, features, options.folder / "latents", 1),
        "ours, 2 cores": lambda: encoded_by_us(model, features, options.folder / "latents", 2),
    }
    return interleaved(contenders, options.rounds, Clock())


class Clock:
    """Wall seconds without those in which Ray starts and stops."""

    paused = 0.0

    def __call__(self) -> float:
        """Seconds since any moment."""
        return time.perf_counter() - Clock.paused


def write_features(target: Path, rows: int) -> None:
    """FEATURES of that many rows with ids and labels, in a folder."""
    target.mkdir(parents=True)
    with FeaturesWriter(target, DIM, {"model": "SYNTHETIC"}) as writer:
        for ids, labels, matrix in blocks(rows, DIM):
            writer.write(FeatureBatch(ids, matrix, pa.table({"label": labels})))


def _each(files: list[str], target: Path, numbers: Callable[[np.ndarray], np.ndarray]) -> None:
    """Reads every file and writes one of the same name, with `numbers` of its features beside id and label."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in files:
        writer = None
        for batch in pq.ParquetFile(file).iter_batches(BATCH, columns=["id", "label", "features"]):
            matrix = batch.column("features").flatten().to_numpy().reshape(len(batch), DIM)
            z = pa.FixedSizeListArray.from_arrays(pa.array(numbers(matrix).ravel()), LATENTS)
            table = pa.table({"id": batch.column("id"), "z": z, "label": batch.column("label")})
            writer = writer or pq.ParquetWriter(target / Path(file).name, table.schema, compression="zstd")
            writer.write_table(table)
        if writer:
            writer.close()


def _loop(files: list[str], target: Path, model: Path) -> None:
    torch.set_num_threads(1)
    _each(files, target, _encoder(model))


def _first_numbers(matrix: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrix[:, :LATENTS])


def _encoder(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    model = ResVAE.from_pretrained(path).eval()

    def encode(matrix: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model.encode(torch.tensor(matrix))[0].numpy()

    return encode


def encoded_by_us(model: Path, features: Path, target: Path, cores: int, gpus: int = 0) -> None:
    """Encodes with a Ray of its own, whose start and end do not count."""
    shutil.rmtree(target, ignore_errors=True)
    started = time.perf_counter()
    ray.init(num_cpus=cores, num_gpus=gpus, include_dashboard=False, log_to_driver=False)
    Clock.paused += time.perf_counter() - started
    encode_features(model, features, target)
    started = time.perf_counter()
    ray.shutdown()
    Clock.paused += time.perf_counter() - started


def _single_rows(path: Path, file: str) -> float:
    """Rows a second of the published README's loop, which draws a latent for one protein at a time."""
    model = ResVAE.from_pretrained(path)
    batch = next(pq.ParquetFile(file).iter_batches(SINGLE_ROWS, columns=["features"]))
    rows = torch.tensor(batch.column("features").flatten().to_numpy().reshape(len(batch), DIM))
    started = time.perf_counter()
    latents = [model.sample_latents(row.unsqueeze(0)).numpy() for row in rows]
    np.concatenate(latents)
    return len(latents) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
