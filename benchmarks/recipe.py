"""The effect of each training option, alone and together with the others.

    python -m benchmarks.recipe DATASET [DATASET …] --out RESULTS.jsonl [--seeds 3] [--workers 2]
        [--base FIELD=VALUE …] [--only NAME …]

trains every recipe below on every DATASET under every seed, each on one thread, and adds a line of JSON for each to
RESULTS.jsonl, with its learning curve; existing results are not trained again. --base hidden_dim=475 beta=70000
is for all recipes that do not say otherwise. At the end it prints, for each DATASET, a row
a recipe with medians over the seeds, all at the best epoch: validation loss on the paper's scale, with its range; at
the posterior mean R² of the validation rows, of the training rows, and of PCA of the same width; what a linear probe
(MCC) and the nearest neighbours read off the latents, the latents along their axes, and PCA, where there are labels;
trustworthiness. And how well the losses at some epochs rank the trainings by their end.
"""

import argparse
import json
import multiprocessing
import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

from resvae_ray import names
from resvae_ray.config import DataConfig, TrainingConfig, field_of, field_type
from resvae_ray.config_field import about
from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import open_sides
from resvae_ray.errors import JobError
from resvae_ray.evaluation.evaluate import evaluate_model
from resvae_ray.evaluation.representations import AXES, LATENTS, SCORES
from resvae_ray.model.network import ResVAE
from resvae_ray.model.training import Training

PAPER = TrainingConfig(z_dim=34, hidden_dim=951, lr=4.69e-4)
HIGH_FIDELITY = replace(load_config("high_fidelity").training, hidden_dim=951)
AVERAGE = {"average": 0.995}  # over as many rows as 0.98 at batches of 128
ALONE: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper, no dropout": {"dropout": 0.0},
    "paper, cosine": {"schedule": "cosine", "warmup": 0.1},
    "paper, average": AVERAGE,
    "paper, clip 10": {"gradient_clip": 10.0},
    "paper, mean": {"output_bias": "mean"},
}
TOGETHER: dict[str, dict[str, Any]] = {
    "high fidelity": {},
    "with dropout 0.3": {"dropout": 0.3},
    "with dropout 0.05": {"dropout": 0.05},
    "constant learning rate": {"schedule": "constant"},
    "one cycle": {"schedule": "one_cycle", "warmup": 0.0},
    "warm-up, stable, decay": {"schedule": "wsd"},
    "no average": {"average": 0.0},
    "no clip": {"gradient_clip": 0.0},
    "no mean": {"output_bias": "random"},
    "weight decay 0.1": {"weight_decay": 0.1},
    "KLD warm-up 0.2": {"kld_warmup": 0.2},
    "batch 32, lr 1e-3": {"batch_size": 32, "lr": 1e-3, **AVERAGE},
    "batch 128, lr 2e-3": {"batch_size": 128, "lr": 2e-3, "average": 0.98},
    "hidden 1500": {"hidden_dim": 1500},
    "z 18": {"z_dim": 18},
    "z 50": {"z_dim": 50},
}
RECIPES = [*ALONE, *TOGETHER]

Task = tuple[str, str, int, TrainingConfig]  # dataset, recipe, seed


def main() -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--base", nargs="*", type=as_field, default=[], metavar="FIELD=VALUE")
    parser.add_argument("--only", nargs="*", default=RECIPES, choices=RECIPES, metavar="NAME")
    options = parser.parse_args()
    wanted = [
        (dataset, recipe, seed, _config(recipe, dict(options.base)))
        for seed in range(options.seeds)
        for recipe in options.only
        for dataset in options.datasets
    ]
    known = _rows(options.out)
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool, options.out.open("a") as file:
        for row in pool.imap_unordered(_train, [task for task in wanted if not _found([task], known)]):
            file.write(json.dumps(row) + "\n")
            file.flush()
    rows = _found(wanted, _rows(options.out))
    _print_table(rows, options.datasets, options.only)
    _print_ranks(rows, options.datasets)


def _found(tasks: list[Task], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of these trainings; one with another configuration is another training."""
    return [
        row for row in rows if (row["dataset"], row["recipe"], row["seed"], TrainingConfig(**row["config"])) in tasks
    ]


def as_field(text: str) -> tuple[str, Any]:
    """FIELD=VALUE of a command line: a field of [training] with its value.

    Raises:
        argparse.ArgumentTypeError: no such field, or no value of its type.
    """
    name, _, value = text.partition("=")
    if name not in {field.name for field in fields(TrainingConfig)}:
        raise argparse.ArgumentTypeError(f"{name!r} is not a field of [training]")
    kind = field_type(TrainingConfig, name)
    try:
        return name, value if value in about(field_of(TrainingConfig, name)).words else kind(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name} is {value!r}; expected {kind.__name__}") from None


def _config(recipe: str, base: dict[str, Any]) -> TrainingConfig:
    start, knobs = (PAPER, ALONE[recipe]) if recipe in ALONE else (HIGH_FIDELITY, TOGETHER[recipe])
    return replace(start, **base | knobs)


def _train(task: Task) -> dict[str, Any]:
    """Trains one recipe to its end, or to where it diverges."""
    path, recipe, seed, config = task
    torch.set_num_threads(1)
    training = Training(config, *open_sides(Dataset.open(path), DataConfig(mode="resident")), seed=seed)
    curve, failure = [], None
    try:
        for metrics in training.epochs():
            curve.append(metrics)
    except JobError as error:
        failure = str(error)
    best = min(curve, key=lambda metrics: metrics[names.VAL_LOSS], default={})
    losses = [metrics[names.VAL_LOSS] for metrics in curve]
    keys = {"dataset": path, "recipe": recipe, "seed": seed}
    known = {"config": asdict(config), "best": best, "failure": failure, "losses": losses}
    return keys | known | {"evaluation": _evaluated(training.best_model(), path) if best else {}}


def _evaluated(model: ResVAE, dataset: str) -> dict[str, float | None]:
    """At the posterior mean: R² of both sides, PCA's of the same width, and what a probe reads off the latents."""
    with tempfile.TemporaryDirectory() as folder:
        found = evaluate_model(model.save_pretrained(Path(folder) / "model"), dataset)
    fits, labels = found.reconstruction, found.labels
    z, axes, pca = (labels and labels.scores[name] for name in (LATENTS, AXES, SCORES))
    return {
        "r2": fits.model.r2,
        "train_r2": fits.train.r2,
        "pca_r2": fits.pca.r2,
        "mcc": z and z.linear.mcc,
        "axes_mcc": axes and axes.linear.mcc,
        "pca_mcc": pca and pca.linear.mcc,
        "knn": z and z.neighbour_agreement,
        "axes_knn": axes and axes.neighbour_agreement,
        "pca_knn": pca and pca.neighbour_agreement,
        "trust": found.trust.scores[LATENTS],
        "axes_trust": found.trust.scores[AXES],
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _print_table(rows: list[dict[str, Any]], datasets: list[str], recipes: list[str]) -> None:
    for dataset in datasets:
        print(f"\n{dataset}\n| recipe | val_loss | {' | '.join(SHOWN)} | seeds |\n|---|{'---:|' * (2 + len(SHOWN))}")
        for recipe in recipes:
            found = [row for row in rows if (row["dataset"], row["recipe"]) == (dataset, recipe) and row["best"]]
            if found:
                cells = " | ".join(_cell([row["evaluation"].get(key) for row in found]) for key in SHOWN)
                losses = [row["best"][names.VAL_LOSS] for row in found]
                spread = f"{median(losses):,.0f} ({min(losses):,.0f} to {max(losses):,.0f})"
                failed = sum(row["failure"] is not None for row in found)
                print(f"| {recipe} | {spread} | {cells} | {len(found)}{f', {failed} diverged' if failed else ''} |")


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):.3f}" if known else "–"


def _print_ranks(rows: list[dict[str, Any]], datasets: list[str]) -> None:
    """How well the lowest loss until some epochs ranks the trainings by their end, with an average and without."""
    for dataset in datasets:
        for averaged in (False, True):
            curves = pd.DataFrame(
                row["losses"]
                for row in rows
                if row["dataset"] == dataset and bool(row["config"]["average"]) == averaged and not row["failure"]
            ).cummin(axis=1)
            if len(curves) < 5:
                continue
            ranks = curves.rank()
            found = {epoch: ranks[epoch - 1].corr(ranks.iloc[:, -1]) for epoch in RUNGS if epoch <= len(ranks.columns)}
            said = ", ".join(f"epoch {epoch}: {rho:.2f}" for epoch, rho in found.items())
            kind = "averaged" if averaged else "plain"
            print(f"{dataset}, {len(curves)} trainings with {kind} weights, rank correlation with the end: {said}")


RUNGS = (5, 10, 15, 20, 30, 45, 60)
SHOWN = ("r2", "train_r2", "pca_r2", "mcc", "axes_mcc", "pca_mcc", "knn", "axes_knn", "pca_knn", "trust", "axes_trust")

if __name__ == "__main__":
    main()
