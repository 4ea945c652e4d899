#!/usr/bin/env bash
# Ray Tune reports trials that ASHA stopped to Optuna as COMPLETE, with the value of the epoch at which they were stopped.
#
# Versions: ray[tune]==2.60.0 optuna==5.0.0 pandas==3.1.1 pyarrow==26.0.1
# Behaviour: all eight trials are COMPLETE, although ASHA stopped some after one epoch; a finished trial has its last value, not its best.
# Consequence here: TPE weighs a loss of epoch 1 like one of epoch 9. The searcher has to tell Optuna PRUNED, and the best value.
# Exits with 1 if the behaviour changes. Run: findings/ray_tune_optuna_states.sh
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


search = OptunaSearch(metric="loss", mode="min", sampler=optuna.samplers.RandomSampler(seed=0))
asha = AsyncHyperBandScheduler(time_attr="epoch", max_t=9, grace_period=1, reduction_factor=3)
results = tune.Tuner(
    train,
    param_space={"x": tune.uniform(0, 100)},
    tune_config=tune.TuneConfig(
        metric="loss", mode="min", search_alg=search, scheduler=asha, num_samples=8, max_concurrent_trials=1
    ),
    run_config=tune.RunConfig(storage_path=os.getcwd(), verbose=0),
).fit()
trials = search._ot_study.trials
states = {trial.state.name for trial in trials}
stopped = [trial for trial in trials if len(trial.intermediate_values) < 8]
reported = {result.config["x"]: result.metrics["loss"] for result in results}
last = [trial for trial in trials if abs(trial.value - reported[trial.params["x"]]) < 1e-9]
print(f"states {states}; {len(stopped)} of 8 were stopped early; {len(last)} of 8 have the value of their last epoch")
ray.shutdown()
raise SystemExit(not (states == {"COMPLETE"} and stopped and len(last) == 8))
PY
