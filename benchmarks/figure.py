"""The figure of README: explained variance of every prefix of one nested training, beside PCA.

    python -m benchmarks.figure DATASET OUT.svg [--epochs 80] [--title TEXT]

Trains the scenario `recommended` once, on one thread, and compares the first latents with as many components, on the
validation rows.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch

from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import open_sides
from resvae_ray.evaluation.reconstruction import fit_pca, reconstruction
from resvae_ray.model.training import Training
from resvae_ray.names import TRAIN, VAL
from resvae_ray.progress import silent

WIDTHS = (2, 4, 8, 12, 18, 26, 34)


def main() -> None:
    """Trains, evaluates and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config("recommended")
    training = replace(config.training, epochs=options.epochs)
    dataset = Dataset.open(options.dataset)
    trained = Training(training, *open_sides(dataset, config.data), seed=0)
    for _ in trained.epochs():
        pass
    network, pca = trained.best_model().eval(), fit_pca(dataset.features(TRAIN), silent)
    whole, prefixes = reconstruction(
        network,
        pca,
        dataset.features(TRAIN),
        dataset.features(VAL),
        silent,
        [width for width in WIDTHS if width < network.z_dim],
    )
    fits = [*prefixes, whole]
    draw(
        [fit.model.width for fit in fits],
        [fit.model.r2 or 0.0 for fit in fits],
        [fit.pca.r2 or 0.0 for fit in fits],
        options.title or f"{dataset.train_rows:,} training and {dataset.val_rows:,} validation rows of {dataset.dim}",
        options.out,
    )


def draw(widths: list[int], ours: list[float], pca: list[float], title: str, out: Path) -> None:
    """The two curves, as an SVG whose text stays text and whose bytes depend on the numbers alone."""
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "resvae_ray", "font.family": "sans-serif", "font.size": 11}
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axes.plot(widths, ours, "o-", color="#00796b", label="resvae_ray, one training")
    axes.plot(widths, pca, "s--", color="#757575", label="PCA of the same width")
    axes.set(xlabel="numbers kept per protein", ylabel="explained variance (R²)", title=title)
    axes.set_xticks(widths)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()
