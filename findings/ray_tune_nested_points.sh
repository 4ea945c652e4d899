#!/usr/bin/env bash
# OptunaSearch ignores points_to_evaluate that are nested like the search space, without a word.
#
# Versions: ray[tune]==2.60.0 optuna==5.0.0 pandas==3.1.1 pyarrow==26.0.1
# Behaviour: a point written like the search space, {"net": {"width": 0.5}}, is not evaluated; only the flat key "net/width" is.
# Consequence here: the configuration to try first has to be enqueued in the Optuna study itself.
# Exits with 1 if the behaviour changes. Run: findings/ray_tune_nested_points.sh
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


def first(points):
    search = OptunaSearch(metric="loss", mode="min", points_to_evaluate=points, sampler=optuna.samplers.RandomSampler(seed=0))
    results = tune.Tuner(
        lambda config: tune.report({"loss": config["net"]["width"]}),
        param_space={"net": {"width": tune.uniform(0, 1)}},
        tune_config=tune.TuneConfig(metric="loss", mode="min", search_alg=search, num_samples=1),
        run_config=tune.RunConfig(storage_path=os.getcwd(), verbose=0),
    ).fit()
    return results[0].config["net"]["width"]


nested, flat = first([{"net": {"width": 0.5}}]), first([{"net/width": 0.5}])
print(f"asked for width 0.5: nested point gave {nested:.3f}, flat key gave {flat:.3f}")
ray.shutdown()
raise SystemExit(not (nested != 0.5 and flat == 0.5))
PY
