#!/usr/bin/env bash
# ClickHouse reads vectors of Parquet as Array(Nullable(Float32)), for which its distance functions are not defined.
#
# Versions: chdb==4.4.0 chdb-core==26.9.0 pyarrow==26.0.1 numpy==2.4.6
# Behaviour: Arrow items are nullable unless said otherwise, ClickHouse takes that over, and L2Distance and cosineDistance refuse nullable items. Vectors whose item field is not nullable work.
# Consequence here: vectors should be written with items that are not nullable.
# Exits with 1 if the behaviour changes. Run: findings/clickhouse_nullable_vectors.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check chdb==4.4.0 chdb-core==26.9.0 pyarrow==26.0.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import chdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write(name, item):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(24, dtype="f4")), type=pa.list_(item, 4))
    schema = pa.schema([pa.field("z", vectors.type, nullable=False)])
    pq.write_table(pa.Table.from_arrays([vectors], schema=schema), name)


def distance(name):
    try:
        return str(chdb.query(f"SELECT L2Distance(z, z) FROM file('{name}') LIMIT 1", "CSV")).strip()
    except Exception as error:
        return "refused: Nullable" if "Nullable(Float32)" in str(error) else f"other error: {error}"


write("usual.parquet", pa.field("item", pa.float32()))
write("not_null.parquet", pa.field("item", pa.float32(), nullable=False))
usual, not_null = distance("usual.parquet"), distance("not_null.parquet")
print(f"pyarrow's usual vectors: {usual}; vectors written with items that are not nullable: {not_null}")
raise SystemExit(not (usual == "refused: Nullable" and not_null == "0"))
PY
