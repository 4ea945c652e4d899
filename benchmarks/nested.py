"""Is one training of nested latents ahead of PCA at every width, and how far behind a training of that width alone?

    python -m benchmarks.nested DATASET [DATASET …] --out FOLDER [--config recommended] [--seeds 3]
        [--widths 2 4 8 12 18 26 34 50] [--alone WIDTH …] [--base FIELD=VALUE …]

trains [training] of the scenario on every DATASET under every seed, on one thread, then, with `--alone`, networks of
those widths whose latents are not nested. FOLDER keeps each as a MODEL and its scores as JSON. It
prints, for each DATASET and width, the median and range over the seeds of what the latents have more than PCA of that
width: R² of the validation rows at the posterior mean, in points (hundredths), and where there are labels the MCC of a
linear probe and the agreement of five neighbours, over at most 600 of all rows, with folds of two seeds.
"""

import argparse
import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import report
from benchmarks.recipe import as_field
from resvae_ray import names
from resvae_ray.config import TrainingConfig
from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import ResidentRows
from resvae_ray.errors import JobError
from resvae_ray.evaluation.probe import choose_rows, label_codes, probe
from resvae_ray.files.place import place
from resvae_ray.model.network import ResVAE
from resvae_ray.model.pretrained import read_model_config
from resvae_ray.model.principal import Principal, principal_components
from resvae_ray.model.training import Training

WIDTHS = (2, 4, 8, 12, 18, 26, 34, 50)
LABEL_SCORES = ("mcc", "knn")
FOLD_SEEDS, PROBED_ROWS = 2, 600


def main() -> None:
    """Trains what is missing and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="recommended")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--widths", nargs="*", type=int, default=WIDTHS)
    parser.add_argument("--alone", nargs="*", type=int, default=[], metavar="WIDTH")
    parser.add_argument("--base", nargs="*", type=as_field, default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    nested = replace(load_config(options.config).training, **dict(options.base))
    configs = [nested, *(replace(nested, z_dim=width, nested=0.0) for width in options.alone)]
    for dataset in options.datasets:
        rows = [
            _measured(Dataset.open(dataset), config, seed, options.widths, options.out)
            for seed in range(options.seeds)
            for config in configs
        ]
        _print_table(dataset, rows)
    report("nested latents beside PCA", datasets=options.datasets, seeds=options.seeds, config=asdict(nested))


def _measured(dataset: Dataset, config: TrainingConfig, seed: int, widths: list[int], out: Path) -> dict[str, Any]:
    """Scores the prefixes of a training's latents beside PCA's components."""
    key = json.dumps([dataset.fingerprint, seed, asdict(config)])
    folder = out / hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    kept = folder.with_suffix(".json")
    if kept.exists():
        return json.loads(kept.read_text())
    train, val = (ResidentRows.decode(dataset.features(side)) for side in (names.TRAIN, names.VAL))
    if not folder.exists():
        _train(config, train, val, seed, folder)
    model, principal = ResVAE.from_pretrained(folder), principal_components(train)
    widths = [width for width in widths if width <= config.z_dim] if config.nested else [config.z_dim]
    codes, chosen = _labelled(dataset, train, val)
    scores = {
        "about": read_model_config(place(folder)),
        "train_r2": 100 * _r2(model, train.matrix, config.z_dim),
        "widths": {
            str(width): {
                "r2": 100 * _r2(model, val.matrix, width),
                "pca_r2": 100 * _pca_r2(principal, val.matrix.numpy(), width),
                **_label_scores(model, principal, chosen, codes, width),
            }
            for width in widths
        },
    }
    kept.write_text(json.dumps(scores))
    return scores


def _train(config: TrainingConfig, train: ResidentRows, val: ResidentRows, seed: int, folder: Path) -> None:
    """Trains one network, to its end or to where it diverges, and keeps its best epoch."""
    started = time.process_time()
    training, failure = Training(config, train, val, seed=seed), None
    try:
        for _ in training.epochs():
            pass
    except JobError as error:
        failure = str(error)
    about = {"training": asdict(config), "last": training.last, "failure": failure}
    training.best_model().save_pretrained(folder, about | {"cpu_s": time.process_time() - started})


@torch.no_grad()
def _r2(model: ResVAE, x: torch.Tensor, width: int) -> float:
    rebuilt = model.decode(model.encode(x)[0][:, :width])
    return 1 - ((rebuilt - x).pow(2).sum() / (x - x.mean(0)).pow(2).sum()).item()


def _pca_r2(principal: Principal, x: np.ndarray, width: int) -> float:
    deviations, directions = x - principal.mean, principal.directions[:width]
    rest = deviations - deviations @ directions.T @ directions
    return float(1 - (rest**2).sum() / ((x - x.mean(0)) ** 2).sum())


def _labelled(dataset: Dataset, train: ResidentRows, val: ResidentRows) -> tuple[np.ndarray, np.ndarray]:
    """Classes (n) and features (n, D) of all rows with a label that is frequent enough; none without labels."""
    known: dict[str, int] = {}
    codes = np.concatenate([label_codes(dataset.features(side), known) for side in (names.TRAIN, names.VAL)])
    chosen = choose_rows(codes, codes[:0], PROBED_ROWS, 0)
    return chosen.codes, torch.cat([train.matrix, val.matrix]).numpy()[chosen.positions]


def _label_scores(
    model: ResVAE, principal: Principal, x: np.ndarray, codes: np.ndarray, width: int
) -> dict[str, float]:
    if len(np.unique(codes)) < 2:
        return {}
    with torch.no_grad():
        z = model.encode(torch.from_numpy(x))[0][:, :width].numpy()
    scores = (x - principal.mean) @ principal.directions[:width].T
    linear = model.linear == "pca"  # whose latents are amounts, as scores are
    ours = [probe(z, codes, seed, amounts=linear) for seed in range(FOLD_SEEDS)]
    pca = [probe(scores, codes, seed, amounts=True) for seed in range(FOLD_SEEDS)]
    return {
        "mcc": fmean(found.mcc for found in ours),
        "pca_mcc": fmean(found.mcc for found in pca),
        "knn": ours[0].knn_agreement,
        "pca_knn": pca[0].knn_agreement,
    }


def _print_table(dataset: str, rows: list[dict[str, Any]]) -> None:
    """A line per width: PCA, then what the nested and the separate trainings have more."""
    print(f"\n{dataset}\n| width | PCA | nested − PCA | alone − PCA | {' | '.join(LABEL_SCORES)} |")
    print("|---:|---:|---|---|---|---|")
    nested, alone = ([row for row in rows if bool(row["about"]["nested"]) == kind] for kind in (True, False))
    for width in nested[0]["widths"]:
        both = [[row["widths"][width] for row in group if width in row["widths"]] for group in (nested, alone)]
        cells = [_range(found, "r2") for found in both] + [_range(both[0], name) for name in LABEL_SCORES]
        print(f"| {width} | {both[0][0]['pca_r2']:.1f} | {' | '.join(cells)} |")
    for z_dim in sorted({row["about"]["z_dim"] for row in rows}):
        for name, group in (("nested", nested), ("alone", alone)):
            found = [row["about"] for row in group if row["about"]["z_dim"] == z_dim]
            if found:
                print(f"{name}, {z_dim} latents: {_course(found)}; R² of the training rows", end=" ")
                print(", ".join(f"{row['train_r2']:.1f}" for row in group if row["about"]["z_dim"] == z_dim))


def _course(found: list[dict[str, Any]]) -> str:
    last = [about["last"] for about in found]
    losses = ", ".join(f"{metrics[names.BEST_VAL_LOSS]:,.1f}" for metrics in last)
    paper = ", ".join(f"{metrics[names.PAPER_LOSS]:,.0f}" for metrics in last if names.PAPER_LOSS in metrics)
    epochs = ", ".join(f"{metrics[names.BEST_EPOCH]} of {metrics[names.EPOCH]}" for metrics in last)
    seconds = ", ".join(f"{about['cpu_s']:.0f}" for about in found)
    diverged = sum(about["failure"] is not None for about in found)
    scale = f"the last on the paper's scale {paper or '–'}"
    return f"loss {losses}; {scale}; epoch {epochs}; CPU s {seconds}; {diverged} diverged"


def _range(found: list[dict[str, float]], name: str) -> str:
    values = [scores[name] - scores[f"pca_{name}"] for scores in found if name in scores]
    if not values:
        return "–"
    digits = 2 if name == "r2" else 3
    return f"{median(values):+.{digits}f} ({min(values):+.{digits}f} to {max(values):+.{digits}f})"


if __name__ == "__main__":
    main()
