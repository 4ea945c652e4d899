#!/usr/bin/env bash
# numpy.savez writes a masked array without its mask, and says nothing.
#
# Versions: numpy==2.4.6
# Behaviour: the numbers under the mask come back as ordinary numbers from numpy.load. numpy.save refuses the same array.
# Consequence here: missing values that were masked cannot be told from features when the file is imported; they have to be removed, or filled with NaN, before saving.
# Exits with 1 if the behaviour changes. Run: findings/numpy_savez_masked.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W error - <<'PY'
import numpy as np

masked = np.ma.masked_equal(np.array([[1.0, -999.0], [3.0, 4.0]]), -999.0)
np.savez("x.npz", embeddings=masked)
read = np.load("x.npz")
try:
    np.save("x.npy", masked)
    refused = False
except NotImplementedError:
    refused = True
print(f"mean before: {masked.mean():g}; of what savez wrote ({read.files}): {read['embeddings'].mean():g}; save refuses: {refused}")
raise SystemExit(not (refused and read.files == ["embeddings"] and read["embeddings"][0, 1] == -999))
PY
