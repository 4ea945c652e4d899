#!/usr/bin/env bash
# DuckDB reads a FixedSizeList column of Parquet as a list without a size, and its array functions refuse it.
#
# Versions: duckdb==2.0.1 pyarrow==26.0.1 numpy==2.4.6
# Behaviour: the Arrow schema in the file says fixed_size_list<float>[4], DuckDB reports FLOAT[]; array_distance fails with a binder error until each vector is cast to FLOAT[4]. list_distance works.
# Consequence here: LATENTS queried in DuckDB need a cast or the list functions.
# Exits with 1 if the behaviour changes. Run: findings/duckdb_fixed_size_list.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(24, dtype="f4")), 4)
pq.write_table(pa.table({"id": [f"P{n}" for n in range(6)], "z": vectors}), "z.parquet")
kind = duckdb.sql("SELECT typeof(z) FROM 'z.parquet' LIMIT 1").fetchall()[0][0]
try:
    duckdb.sql("SELECT array_distance(a.z, b.z) FROM 'z.parquet' a, 'z.parquet' b").fetchall()
    refused = ""
except duckdb.BinderException as error:
    refused = str(error).splitlines()[0]
cast = duckdb.sql("SELECT array_distance(z::FLOAT[4], [0, 1, 2, 3]::FLOAT[4]) FROM 'z.parquet' LIMIT 1").fetchall()[0][0]
print(f"type {kind}; array_distance: {refused or 'accepted'}; after a cast to FLOAT[4]: {cast}")
raise SystemExit(not (kind == "FLOAT[]" and "array_distance" in refused and cast == 0.0))
PY
