"""Which representation tells most: latents, their reconstruction of the features, or PCA of the same width?

    python -m benchmarks.judge DATASET --models FOLDER --out RESULTS.jsonl [--config high_fidelity] [--seeds 3]
        [--latents 34 18] [--base FIELD=VALUE …]

trains the scenario under every seed on one thread, for every width, or once if its latents are nested; keeps the MODELs
in FOLDER (NAME-WIDTH-SEED, of DATASET's name; one that is there is not trained again), and evaluates each, at every
width if it is nested. RESULTS.jsonl gets a line per evaluation. At the end it prints a row per measure and pair of
representations: the difference under each seed with its 95 % interval, and how often the verdict was "better", "worse"
and "not distinguishable".
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.recipe import as_field
from resvae_ray.config import DataConfig, TrainingConfig
from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.stream import open_sides
from resvae_ray.evaluation.evaluate import evaluate_model
from resvae_ray.evaluation.intervals import BETTER, EQUAL, WORSE
from resvae_ray.model.training import Training


def main() -> None:
    """Trains and evaluates what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="high_fidelity")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--latents", type=int, nargs="+", default=[34, 18])
    parser.add_argument("--base", nargs="*", type=as_field, default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = replace(load_config(options.config).training, **dict(options.base))
    known = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for seed in range(options.seeds):
        for z_dim in [config.z_dim] if config.nested else options.latents:
            name = f"{options.dataset.name}-{z_dim}-{seed}"
            if any(row["model"] == name for row in known):
                continue
            if not (options.models / name).exists():
                _train(options.dataset, options.models / name, replace(config, z_dim=z_dim), seed)
            prefixes = options.latents if config.nested else []
            found = evaluate_model(options.models / name, options.dataset, latents=prefixes).to_dict()
            judged = [(prefix["latents"], prefix) for prefix in found["prefixes"]] or [(z_dim, found)]
            known += [{"model": name, "latents": width, "evaluation": one} for width, one in judged]
            options.out.write_text("".join(json.dumps(row) + "\n" for row in known))
    for latents in options.latents:
        print(f"\n{options.dataset.name}, {latents} latents")
        _print_table([row["evaluation"] for row in known if row["latents"] == latents])


def _train(path: Path, model: Path, config: TrainingConfig, seed: int) -> None:
    dataset = Dataset.open(path)
    training = Training(config, *open_sides(dataset, DataConfig(mode="resident")), seed=seed)
    for _ in training.epochs():
        pass
    training.best_model().save_pretrained(model, {"features": {"fingerprint": dataset.fingerprint}})


def _print_table(evaluations: list[dict[str, Any]]) -> None:
    rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for evaluation in evaluations:
        for difference in _differences(evaluation):
            key = (difference["measure"], difference["representation"], difference["against"])
            rows.setdefault(key, []).append(difference)
    for (measure, ours, theirs), found in rows.items():
        verdicts = Counter(difference["verdict"] for difference in found)
        counts = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in (BETTER, WORSE, EQUAL) if verdicts[verdict])
        cells = [f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})" for one in found]
        print(f"| {measure} | {ours} − {theirs} | {'; '.join(cells)} | {counts} |")


def _differences(evaluation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield evaluation["reconstruction"]["difference"]
    yield from evaluation["trust"]["differences"]
    yield from (evaluation["labels"] or {}).get("differences", ())


if __name__ == "__main__":
    main()
