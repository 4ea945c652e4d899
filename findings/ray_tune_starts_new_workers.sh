#!/usr/bin/env bash
# Ray Tune starts a new process for the first trial, although Ray has an idle worker that could run it.
#
# Versions: ray[tune]==2.60.0 pandas==3.1.1 pyarrow==26.0.1
# Behaviour: Tune gives each trial the variable PL_DISABLE_FORK of PyTorch Lightning as a runtime environment. A worker without that environment cannot run the trial, so Ray starts another process, after its agent for environments has started. Without the variable, the trial runs in the idle worker.
# Consequence here: `tune` removes the variable, and its first trial begins seconds sooner.
# Exits with 1 if the behaviour changes. Run: findings/ray_tune_starts_new_workers.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ray[tune]==2.60.0" pandas==3.1.1 pyarrow==26.0.1
cd "$work"
RAY_USAGE_STATS_ENABLED=0 TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1 "$work/venv/bin/python" - <<'PY'
import os
import subprocess
import time

import ray
from ray import tune
from ray.tune.execution import class_cache

WAIT_S = 10  # for Ray to start its worker


def trial(config):
    age = subprocess.run(["ps", "-o", "etimes=", "-p", str(os.getpid())], capture_output=True, text=True)
    tune.report({"started": time.time() - int(age.stdout)})


def is_the_idle_worker():
    """Whether a trial runs in a process that Ray had started before the trial was asked for."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    time.sleep(WAIT_S)
    asked = time.time()
    config = tune.RunConfig(storage_path=os.getcwd(), verbose=0)
    (result,) = tune.Tuner(tune.with_resources(trial, {"cpu": 1}), run_config=config).fit()
    ray.shutdown()
    return result.metrics["started"] < asked - 2


usual = is_the_idle_worker()
class_cache.DEFAULT_ENV_VARS.clear()
without = is_the_idle_worker()
print(f"the trial runs in the idle worker: {usual}; without PL_DISABLE_FORK: {without}")
raise SystemExit(not (not usual and without))
PY
