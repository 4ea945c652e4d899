"""The search: Ray Tune runs the trials, Optuna's TPE proposes them, ASHA stops them, a RUN folder remembers all."""
