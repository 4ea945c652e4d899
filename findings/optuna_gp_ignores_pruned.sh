#!/usr/bin/env bash
# GPSampler does not learn from PRUNED trials, while TPESampler does.
#
# Versions: optuna==5.0.0 torch==2.13.0 scipy==1.17.1 numpy==2.4.6
# Behaviour: after forty COMPLETE trials GPSampler proposes the optimum; after forty PRUNED trials with the same intermediate values it still draws at random, and TPESampler does not.
# Consequence here: a search with early stopping gains nothing from GPSampler until many trials have run to their end.
# Exits with 1 if the behaviour changes. Run: findings/optuna_gp_ignores_pruned.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0 torch==2.13.0 scipy==1.17.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import warnings

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {"x": FloatDistribution(0, 1)}


def mean_miss(sampler, state):
    """Distance of ten proposals from the optimum at 0.9, after forty trials that all ended in `state`."""
    study, draw = optuna.create_study(sampler=sampler), np.random.default_rng(0)
    for x in draw.uniform(size=40):
        loss = float((x - 0.9) ** 2)
        value = loss if state == TrialState.COMPLETE else None
        study.add_trial(
            create_trial(state=state, value=value, params={"x": x}, distributions=SPACE, intermediate_values={1: loss})
        )
    return float(np.mean([abs(study.ask(SPACE).params["x"] - 0.9) for _ in range(10)]))


found = {
    (kind.__name__, state.name): round(mean_miss(kind(seed=0, n_startup_trials=10), state), 3)
    for kind in (optuna.samplers.TPESampler, optuna.samplers.GPSampler)
    for state in (TrialState.COMPLETE, TrialState.PRUNED)
}
print(found)
gp, tpe = "GPSampler", "TPESampler"
learned = found[gp, "COMPLETE"] < 0.05 and found[tpe, "PRUNED"] < 0.15
raise SystemExit(not (learned and found[gp, "PRUNED"] > 0.2))
PY
