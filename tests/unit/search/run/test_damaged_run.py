"""A RUN whose record is damaged says where; its tables hold no formulas."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from resvae_ray.errors import DataError
from resvae_ray.search.run.run import Run


@pytest.mark.parametrize("line", ["{", "5", "{}", '{"number": 0, "epoch": "one"}', "[" * 100_000])
def test_a_damaged_line_of_the_epochs_is_named(line, searched):
    path = searched([("complete", [9.0, 8.0])], model=False)
    lines = (path / "epochs.jsonl").read_text().splitlines()
    (path / "epochs.jsonl").write_text("\n".join([lines[0], line, lines[1]]) + "\n")
    with pytest.raises(DataError, match="epochs.jsonl: line 2: damaged line; remove it"):
        Run.open(path).status()
    (path / "epochs.jsonl").write_text("\n".join([*lines, line]))
    assert len(Run.open(path).epochs()) == 2, "the last line is still being written"


def test_a_damaged_journal_is_named(searched):
    path = searched([("complete", [9.0, 8.0])], model=False)
    content = (path / "study.journal").read_bytes()
    (path / "study.journal").write_bytes(content.replace(b'"op_code": 4', b'"op_code": "', 1).replace(b"{", b"(", 2))
    with pytest.raises(DataError, match="study.journal: the study's journal is damaged"):
        Run.open(path).status()


@pytest.mark.parametrize(
    "change",
    [{"sessions": 5}, {"sessions": [5]}, {"sessions": [{"started": "today"}]}, {"dataset": 4}, {"dataset": {}}],
    ids=str,
)
def test_a_damaged_run_json_is_named(change, searched):
    path = searched([("complete", [9.0, 8.0])], model=False)
    content = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(content | change))
    with pytest.raises(DataError, match="run.json: not a run of this version"):
        Run.open(path)


@pytest.mark.parametrize(("name", "text"), [("0000-0/result.json", "5"), ("choice.json", "[]"), ("choice.json", "{}")])
def test_a_damaged_record_of_finalists_is_named(name, text, searched):
    path = searched([("complete", [9.0, 8.0])], model=False)
    (path / "finalists" / name).parent.mkdir(parents=True)
    (path / "finalists" / name).write_text(text)
    with pytest.raises(DataError, match=f"{name}: damaged; remove it"):
        Run.open(path).status()


def test_the_tables_hold_no_formulas(searched):
    run = Run.open(searched([("complete", [9.0, 8.0])]))
    lines = (run.path / "epochs.jsonl").read_text().replace("node-a", "=cmd()")
    (run.path / "epochs.jsonl").write_text(lines)
    replace(run, config=replace(run.config, name="@SUM(A1)")).write_tables()
    trials = pd.read_csv(run.path / "trials.csv")
    assert trials["node"].tolist() == ["'=cmd()"]
    assert trials["best_val_loss"].tolist() == [8.0]
    assert pd.read_parquet(run.path / "trials.parquet")["node"].tolist() == ["=cmd()"]
