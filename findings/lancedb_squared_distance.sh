#!/usr/bin/env bash
# LanceDB's "l2" distance is the square of the Euclidean distance; DuckDB and ClickHouse give the distance itself.
#
# Versions: lancedb==0.40.0 duckdb==2.0.1 chdb==4.4.0 chdb-core==26.9.0 pyarrow==26.0.1 numpy==2.4.6
# Behaviour: for two vectors at distance 5, _distance is 25 with distance_type("l2"), which is also the default. The order of neighbours is the same, but a threshold is not.
# Consequence here: a threshold on the distance of latents cannot be taken over from one database to another.
# Exits with 1 if the behaviour changes. Run: findings/lancedb_squared_distance.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check lancedb==0.40.0 duckdb==2.0.1 chdb==4.4.0 chdb-core==26.9.0 pyarrow==26.0.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import chdb
import duckdb
import lancedb
import numpy as np
import pyarrow as pa

vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.array([3, 4], "f4")), 2)
table = lancedb.connect("db").create_table("t", data=pa.table({"id": ["a"], "z": vectors}))
lance = table.search(np.zeros(2, "f4"), vector_column_name="z").distance_type("l2").to_arrow()["_distance"][0].as_py()
duck = duckdb.sql("SELECT array_distance([0, 0]::FLOAT[2], [3, 4]::FLOAT[2])").fetchall()[0][0]
click = float(str(chdb.query("SELECT L2Distance([0., 0.], [3., 4.])", "CSV")))
print(f"distance of (0, 0) and (3, 4): LanceDB {lance:g}, DuckDB {duck:g}, ClickHouse {click:g}")
raise SystemExit((lance, duck, click) != (25, 5, 5))
PY
