"""The search: Ray Tune runs the trials, Optuna's TPE proposes them, ASHA stops them, and a RUN folder records them."""
