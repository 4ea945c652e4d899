#!/usr/bin/env bash
# scikit-learn reads the numbers under the mask of a masked array, and says nothing.
#
# Versions: scikit-learn==1.9.1 numpy==2.4.6
# Behaviour: check_array turns a numpy.ma array into an ordinary one without looking at its mask, so that StandardScaler, PCA and others count masked values such as -999 as data. NaN in the same places is refused.
# Consequence here: the transformer refuses masked entries itself; fill them with numbers, or remove the rows.
# Exits with 1 if the behaviour changes. Run: findings/scikit_learn_ignores_masks.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W error - <<'PY'
import numpy as np
from sklearn.preprocessing import StandardScaler

masked = np.ma.masked_equal(np.array([[1.0], [3.0], [-999.0]]), -999.0)
mean = StandardScaler().fit(masked).mean_[0]
print(f"mean of the array: {masked.mean():g}; of StandardScaler: {mean:g}")
raise SystemExit(not (masked.mean() == 2 and round(mean, 2) == -331.67))
PY
