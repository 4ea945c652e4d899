#!/usr/bin/env bash
# safetensors writes the metadata of equal content in an order that changes from process to process.
#
# Versions: safetensors==0.8.0 numpy==2.4.6
# Behaviour: eight processes that save the same tensor with the same six metadata entries write several different files.
# Consequence here: checkpoints and models that must be equal byte for byte need their header sorted after writing.
# Exits with 1 if the behaviour changes. Run: findings/safetensors_metadata_order.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import subprocess
import sys

CODE = """
import hashlib
import numpy as np
from safetensors.numpy import save
metadata = {f"key{n}": str(n) for n in range(6)}
print(hashlib.sha256(save({"w": np.zeros(3, dtype="f4")}, metadata=metadata)).hexdigest())
"""
digests = {subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout for _ in range(8)}
print(f"{len(digests)} different files of 8 with equal content")
raise SystemExit(len(digests) == 1)
PY
