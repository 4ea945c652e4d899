#!/usr/bin/env bash
# ResultGrid.get_best_result(scope="all") finds the trial with the best value, but returns the metrics of its last report.
#
# Versions: ray[tune]==2.60.0 optuna==5.0.0 pandas==3.1.1 pyarrow==26.0.1
# Behaviour: the trial had its lowest loss, 10, in epoch 5; `.metrics` of the best result says loss 14 of epoch 9.
# Consequence here: the best epoch has to be recorded by the trial itself and its weights saved there.
# Exits with 1 if the behaviour changes. Run: findings/ray_tune_best_result_metrics.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[tune]==2.60.0" optuna==5.0.0 pandas==3.1.1 pyarrow==26.0.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import os
import warnings

warnings.simplefilter("ignore")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import optuna
import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.optuna import OptunaSearch

optuna.logging.set_verbosity(optuna.logging.ERROR)
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")


def train(config):
    for epoch in range(1, 10):
        tune.report({"loss": config["x"] + abs(epoch - 5), "epoch": epoch})


results = tune.Tuner(
    train,
    param_space={"x": tune.grid_search([10, 20])},
    tune_config=tune.TuneConfig(metric="loss", mode="min", max_concurrent_trials=1),
    run_config=tune.RunConfig(storage_path=os.getcwd(), verbose=0),
).fit()
best = results.get_best_result(scope="all")
lowest = float(best.metrics_dataframe["loss"].min())
print(f"lowest loss {lowest:g}; metrics of the best result: loss {best.metrics['loss']}, epoch {best.metrics['epoch']}")
ray.shutdown()
raise SystemExit(not (lowest == 10 and best.metrics["loss"] == 14 and best.metrics["epoch"] == 9))
PY
