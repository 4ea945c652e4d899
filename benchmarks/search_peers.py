"""The searches that ours is compared with, on the same rows: Ray's own parts, and the published code.

    python -m benchmarks.search_peers FEATURES.npz PUBLISHED OUT.json [--seed 0]

runs what Ray's documentation leads to: the published class in a function trainable, OptunaSearch with Optuna's TPE and
ASHA (grace 10, factor 3) on the validation loss, a trial a core. FEATURES.npz has the matrix `embeddings` or `emb`.
PUBLISHED is a folder with a `reference.py` that holds the published class and runs its search; it is not part of this
project. Writes of every epoch its time and its validation loss.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.search.study import distributions

Epochs = list[tuple[float, float]]  # of each when it ended, in seconds since 1970, and its loss; in the order of time


def main() -> None:
    """Runs the search with Ray's own parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("published", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = _run_stock(options.features.resolve(), options.published.resolve(), options.seed)
    options.out.write_text(json.dumps(found))


def stock(features: Path, published: Path, seed: int) -> Epochs:
    """A search with Ray's own parts."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "epochs.json"
        command = [sys.executable, "-m", "benchmarks.search_peers", features, published, out, "--seed", str(seed)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        return json.loads(out.read_text())


def the_published(features: Path, published: Path, seed: int) -> Epochs:
    """The published code's search; it tells the time of trials, within which epochs are taken to be of equal length."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "trials.jsonl"
        command = [sys.executable, published / "reference.py", features, out, "--seed", str(seed)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        ended = time.time()
        trials = [json.loads(line) for line in out.read_text().splitlines()]
    began = ended - trials[-1]["wall_s"]  # its clock starts after its imports
    ends = [began, *(began + trial["wall_s"] for trial in trials)]
    return [
        (start + (end - start) * epoch / trial["epochs"], loss)
        for trial, start, end in zip(trials, ends, ends[1:], strict=False)
        for epoch, loss in enumerate(trial["curve"], 1)
    ]


def _run_stock(features: Path, published: Path, seed: int) -> Epochs:
    import optuna

    config, metric = Config(), names.VAL_LOSS
    sampler = optuna.samplers.TPESampler(seed=seed)
    epochs = config.training.epochs
    train = tune.with_parameters(_train, features=features, published=published, epochs=epochs, seed=seed)
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            metric=metric,
            mode="min",
            num_samples=config.search.most_trials,
            search_alg=OptunaSearch(distributions(config), metric=metric, mode="min", sampler=sampler),
            scheduler=ASHAScheduler(max_t=epochs, grace_period=10, reduction_factor=3),
        ),
    )
    frames = [result.metrics_dataframe for result in tuner.fit()]
    found = [frame[[names.TIME, metric]].to_numpy() for frame in frames if frame is not None]
    return sorted((float(at), float(loss)) for rows in found for at, loss in rows)


def _train(params: dict[str, Any], features: Path, published: Path, epochs: int, seed: int) -> None:
    """A trial: the published class, its loss and its loop."""
    import torch
    from sklearn.model_selection import train_test_split
    from torch.utils.data import DataLoader, TensorDataset

    sys.path.insert(0, str(published))
    from reference import load_reference_class  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    with np.load(features) as arrays:
        rows = arrays["embeddings" if "embeddings" in arrays else "emb"].astype("float32")
    train, val = train_test_split(rows, test_size=0.2, random_state=0)
    train_loader = DataLoader(TensorDataset(torch.tensor(train)), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(torch.tensor(val)), batch_size=32)
    shape = (rows.shape[1], params["hidden_dim"], params["z_dim"])
    model = load_reference_class()(*shape, loss_type="MSE", reduction="sum")
    optimizer = torch.optim.Adam(model.parameters(), lr=params["lr"])
    for epoch in range(1, epochs + 1):
        model.train()
        for (x,) in train_loader:
            optimizer.zero_grad()
            _loss(model, x).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            loss = sum(_loss(model, x).item() * len(x) for (x,) in val_loader) / len(val)
        tune.report({names.EPOCH: epoch, names.VAL_LOSS: loss, names.TIME: time.time()})


def _loss(model: Any, x: Any) -> Any:
    reconstruction, mu, logvar = model(x)
    return model.loss_function(reconstruction, x, mu, logvar, beta=1000)


if __name__ == "__main__":
    main()
