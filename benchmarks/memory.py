"""How much more memory does a training take that streams 10 GB than one that streams 0.1 GB?

    python -m benchmarks.memory FOLDER [--mb 100 10000] [--dim 1280]

writes a DATASET of each size into FOLDER (which needs room for twice the largest), trains an epoch of a small network
on it in a process of its own, streaming, as a trial does, and prints the peak of that process's resident set, as the
kernel counted it. The data sets are removed at the end.
"""

import argparse
import multiprocessing
import shutil
import time
from pathlib import Path

import pyarrow as pa

from benchmarks.import_split import blocks, in_a_process
from benchmarks.measuring import report

FLOAT_BYTES = 4


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mb", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--dim", type=int, default=1280)
    options = parser.parse_args()
    found = {}
    for size in options.mb:
        dataset = options.folder / f"{size}mb"
        in_a_process(write_dataset, dataset, size * 1_000_000 // (FLOAT_BYTES * options.dim), options.dim)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[size] = pool.apply(train, (dataset,))
        shutil.rmtree(dataset)
    peaks = {size: peak for size, (peak, _) in found.items()}
    seconds = {size: taken for size, (_, taken) in found.items()}
    growth = peaks[max(peaks)] - peaks[min(peaks)]
    report("memory", dim=options.dim, peak_mb=peaks, seconds=seconds, growth_mb=growth)


def write_dataset(dataset: Path, rows: int, dim: int) -> None:
    """So many synthetic proteins, split 4 : 1."""
    from resvae_ray.data.features_writer import FeaturesWriter
    from resvae_ray.data.schema import FeatureBatch
    from resvae_ray.data.splitting.split import split_features

    features = dataset.with_name(f"{dataset.name}.features")
    features.mkdir(parents=True)
    with FeaturesWriter(features, dim, {"model": "SYNTHETIC"}) as writer:
        for ids, labels, matrix in blocks(rows, dim):
            writer.write(FeatureBatch(ids, matrix, pa.table({"label": labels})))
    split_features(features, dataset)
    shutil.rmtree(features)


def train(dataset: Path) -> tuple[float, float]:
    """An epoch of streaming; this process's peak in MB, and the seconds it took."""
    import torch

    from resvae_ray.config import DataConfig, TrainingConfig
    from resvae_ray.data.dataset import STREAM, Dataset
    from resvae_ray.data.stream import open_sides
    from resvae_ray.model.training import Training

    torch.set_num_threads(1)
    started = time.perf_counter()
    sides = open_sides(Dataset.open(dataset), DataConfig(mode=STREAM))
    for _ in Training(TrainingConfig(z_dim=4, hidden_dim=16, epochs=1, batch_size=256), *sides).epochs():
        pass
    return _peak_mb(), round(time.perf_counter() - started, 1)


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
