"""Copies of FEATURES at the scale of another language model, to see what a scenario does there without a changed flag.

    python -m benchmarks.scaled FEATURES [FEATURES …] --out FOLDER [--scales 0.02 50] [--shift 10]

writes a DATASET per FEATURES and scale (`split` with its defaults). Every feature is moved by an amount of its own (a
draw from the standard normal distribution, times `--shift`, times the root mean square deviation of a feature) and then
multiplied by the scale. `python -m benchmarks.nested FOLDER/*` trains and judges the scenario on each.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.data.splitting.split import split_features


def main() -> None:
    """Writes the DATASETs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scales", nargs="+", type=float, default=[0.02, 50])
    parser.add_argument("--shift", type=float, default=10)
    options = parser.parse_args()
    for path in options.features:
        for scale in options.scales:
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / path.name
                write_scaled(path, copy, scale, options.shift)
                split_features(copy, options.out / f"{path.stem}-x{scale:g}")


def write_scaled(path: Path, copy: Path, scale: float, shift: float) -> None:
    """FEATURES times `scale`, in float64 until they are written."""
    features = Features.open(path)
    batches = list(features.batches())
    deviation = np.sqrt(np.concatenate([batch.features for batch in batches]).astype(np.float64).var(0).mean())
    moved = np.random.default_rng(0).standard_normal(features.dim) * shift * deviation
    with FeaturesWriter(copy, features.dim, features.provenance) as writer:
        for batch in batches:
            scaled = (batch.features.astype(np.float64) + moved) * scale
            writer.write(FeatureBatch(batch.ids, scaled.astype(np.float32), batch.others))


if __name__ == "__main__":
    main()
