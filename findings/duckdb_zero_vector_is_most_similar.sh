#!/usr/bin/env bash
# In DuckDB a vector of zeros is the most similar one of all: its cosine similarity is NaN, and NaN sorts first.
#
# Versions: duckdb==2.0.1
# Behaviour: array_cosine_similarity with a vector of zeros is NaN, which is greater than any number, so that ORDER BY similarity DESC LIMIT k begins with all vectors of zeros. array_cosine_distance in ascending order puts them last.
# Consequence here: neighbours among latents should be sought by array_cosine_distance in ascending order, or with WHERE NOT isnan(similarity).
# Exits with 1 if the behaviour changes. Run: findings/duckdb_zero_vector_is_most_similar.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import duckdb

duckdb.sql("CREATE TABLE t AS SELECT * FROM (VALUES ('zero', [0, 0]::FLOAT[2]), ('same', [2, 0]::FLOAT[2])) v(id, z)")
query = "SELECT id FROM t ORDER BY array_cosine_{}(z, [1, 0]::FLOAT[2]) {} LIMIT 1"
similar = duckdb.sql(query.format("similarity", "DESC")).fetchall()[0][0]
near = duckdb.sql(query.format("distance", "ASC")).fetchall()[0][0]
print(f"most similar to (1, 0): {similar}; nearest: {near}")
raise SystemExit((similar, near) != ("zero", "same"))
PY
