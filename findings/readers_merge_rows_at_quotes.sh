#!/usr/bin/env bash
# pyarrow, pandas and Python's csv merge the rows between two names that begin with a quote, and say nothing.
#
# Versions: pyarrow==26.0.1 pandas==3.1.1 duckdb==2.0.1 polars==2.1.0
# Behaviour: in a TSV with `"b` in one row and `"d` in a later one, all between is one name, and the first row gets the numbers of the last: P2 has x = 4, P3 and P4 are gone. Text after a closing quote is accepted, although RFC 4180 has none. DuckDB reads all rows, Polars refuses the file.
# Consequence here: tables of text are looked through for such quotes before pyarrow parses them, and refused with the line.
# Exits with 1 if the behaviour changes. Run: findings/readers_merge_rows_at_quotes.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1 duckdb==2.0.1 polars==2.1.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import csv

import duckdb
import pandas as pd
import polars as pl
import pyarrow.csv as pc

with open("t.tsv", "w") as file:
    file.write('id\tname\tx\nP1\ta\t1\nP2\t"b\t2\nP3\tc\t3\nP4\t"d\t4\nP5\te\t5\n')
tab = pc.ParseOptions(delimiter="\t")
readers = {
    "pyarrow": lambda: pc.read_csv("t.tsv", parse_options=tab).select(["id", "x"]).to_pandas().values.tolist(),
    "pandas": lambda: pd.read_csv("t.tsv", sep="\t")[["id", "x"]].values.tolist(),
    "csv": lambda: [[row[0], int(row[2])] for row in list(csv.reader(open("t.tsv"), delimiter="\t"))[1:]],
    "DuckDB": lambda: [list(row) for row in duckdb.sql("SELECT id, x FROM 't.tsv'").fetchall()],
    "Polars": lambda: pl.read_csv("t.tsv", separator="\t").rows(),
}
found = {}
for name, read in readers.items():
    try:
        found[name] = read()
    except pl.exceptions.ComputeError:
        found[name] = "refused"
    print(f"{name}: {found[name]}")
merged = [["P1", 1], ["P2", 4], ["P5", 5]]
whole = [["P1", 1], ["P2", 2], ["P3", 3], ["P4", 4], ["P5", 5]]
expected = {"pyarrow": merged, "pandas": merged, "csv": merged, "DuckDB": whole, "Polars": "refused"}
raise SystemExit(found != expected)
PY
