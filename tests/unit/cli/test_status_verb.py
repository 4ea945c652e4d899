"""Output of `status` as text and as JSON, printed once or repeatedly."""

import io
import json
import os
import re
import time
from dataclasses import replace

import pytest

from resvae_ray.cli import main
from resvae_ray.cli import status_verb as status_module
from resvae_ray.config import Config, SearchConfig
from resvae_ray.data.dataset import Dataset
from resvae_ray.search.run.run import Run
from resvae_ray.search.study import open_study
from resvae_ray.search.tpe import StudySearch

CONFIG = replace(Config(), search=SearchConfig(trials=3), data=replace(Config().data, mode="resident"))


@pytest.fixture
def run(make_dataset, tmp_path, monkeypatch):
    """A search with three trials, none begun."""
    monkeypatch.setattr(status_module, "WATCH_S", 0.0)
    return Run.create(tmp_path / "run", CONFIG, Dataset.open(make_dataset(30, 4)), {"study": "s"})


@pytest.fixture
def search(run):
    """Starts trials and records their ends."""
    return StudySearch(open_study(run.path / "study.journal", "s"), CONFIG, [])


def write_epoch(run, number, epoch, loss):
    at = time.time() - 20 + 9.0 * epoch
    row = {"number": number, "epoch": epoch, "val_loss": loss, "seconds": 1.0, "node": "host", "time": at}
    with (run.path / "epochs.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def while_it_runs(run, monkeypatch, *steps):
    """Makes each pause of a watcher one step of the search, which ends with the last."""
    lock = run.lock()
    lock.__enter__()
    left = list(steps)

    def step(seconds):
        if left:
            left.pop(0)()
        else:
            lock.__exit__(None, None, None)

    monkeypatch.setattr("time.sleep", step)


def test_a_run_of_which_only_run_json_is_there(run, capsys):
    assert main(["status", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert "interrupted; 3 pending, 0 running" in out
    assert re.search(r"no process is running it; resume with: resvae-ray tune \S+ \S+ --resume\n$", out)


def test_a_killed_search_names_its_last_process_and_how_to_resume(run, search, capsys):
    search.suggest("a")
    write_epoch(run, 0, 1, 7.0)
    (run.path / "run.lock").write_text("process 7 on elsewhere\n")
    os.utime(run.path / "run.lock", (1.0, 1.0))
    assert main(["status", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert "interrupted; 3 pending, 0 running" in out
    assert "no process is running it (process 7 on elsewhere last reported " in out


def test_while_it_runs(run, search, capsys):
    for name in "ab":
        search.suggest(name)
    for epoch in (1, 2):
        write_epoch(run, 0, epoch, 7.0 - epoch)
    with run.lock():
        assert main(["status", str(run.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "running; 1 pending, 2 running, 0 complete, 0 pruned, 0 failed; 2 epochs, 0.11 a second" in lines[0]
    assert lines[1].startswith("best: trial 0, loss 5.00 at epoch 2 (z_dim ")
    assert lines[2:] == ["running: trial 0, epoch 2 of 80, best 5.00, on host", "running: trial 1, no epoch yet"]


def test_lines_that_are_being_written_are_passed_over(run, search, capsys):
    search.suggest("a")
    write_epoch(run, 0, 1, 7.0)
    for name in ("epochs.jsonl", "study.journal"):
        with (run.path / name).open("a") as file:
            file.write('{"number": 0, "ep')
    assert main(["status", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 1


def test_watching_in_a_log_file_prints_what_changes_and_ends_with_the_search(run, search, capsys, monkeypatch):
    def begin():
        search.suggest("a")
        write_epoch(run, 0, 1, 7.0)

    def fail():
        search.on_trial_complete("a", {"epoch": 1, "best_val_loss": 7.0, "failure": "NaN"})

    while_it_runs(run, monkeypatch, begin, lambda: None, lambda: None, fail)
    assert main(["status", str(run.path), "--watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.findall(r"run: (\w+); (\d) pending, (\d) running", line)[0] for line in lines[:4]] == [
        ("running", "3", "0"),
        ("running", "2", "1"),
        ("running", "2", "0"),
        ("interrupted", "2", "0"),
    ]
    assert lines[5] == "failed: trial 0: unknown"
    assert "\033" not in "".join(lines)


def test_watching_for_programs_is_a_line_of_json_each_time(run, capsys, monkeypatch):
    while_it_runs(run, monkeypatch, lambda: None)
    assert main(["status", str(run.path), "--watch", "--json"]) == 0
    states = [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()]
    assert states == ["running", "running", "interrupted"]


def test_watching_opens_the_run_once_and_sees_a_longer_search(run, capsys, monkeypatch):
    opened, change = [], Run.open
    monkeypatch.setattr(Run, "open", lambda path: opened.append(path) or change(path))

    def extend():
        about = json.loads((run.path / "run.json").read_text())
        about["config"]["search"]["trials"] = 5
        (run.path / "run.json").write_text(json.dumps(about))

    while_it_runs(run, monkeypatch, lambda: None, extend)
    assert main(["status", str(run.path), "--watch", "--json"]) == 0
    pending = [json.loads(line)["counts"]["pending"] for line in capsys.readouterr().out.splitlines()]
    assert pending == [3, 3, 5, 5]
    assert len(opened) == 1


def test_watching_a_run_that_is_removed_ends_in_words(run, capsys, monkeypatch):
    while_it_runs(run, monkeypatch, (run.path / "run.json").unlink)
    assert main(["status", str(run.path), "--watch", "--json"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{run.path}: not a RUN: run.json is missing" in line


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_screen(text):
    """The screen of a terminal after `text`, including cursor moves and erasures."""
    lines, row = [""], 0
    for part in re.split(r"(\033\[\d*[FJ]|\n)", text):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("F") and part.startswith("\033"):
            row -= int(part[2:-1])
        elif part == "\033[J":
            del lines[row + 1 :]
            lines[row] = ""
        else:
            lines[row] += part
    return lines


def test_watching_on_a_terminal_redraws_in_place(run, search, monkeypatch):
    def begin():
        for name in "ab":
            search.suggest(name)
        write_epoch(run, 0, 1, 7.0)

    def fail():
        search.on_trial_complete("a", {"epoch": 1, "best_val_loss": 7.0, "failure": "NaN"})

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 24)))
    while_it_runs(run, monkeypatch, begin, fail)
    assert main(["status", str(run.path), "--watch"]) == 0
    screen = on_screen(terminal.getvalue())
    assert "interrupted; 2 pending, 0 running, 0 complete, 0 pruned, 1 failed" in screen[0]
    assert screen[1].startswith("best: trial 0")
    assert screen[2] == "failed: trial 0: unknown"
    assert screen[3].startswith("no process is running it")
    assert screen[4:] == [""], "nothing of what stood there before is left"
    drawn_before = re.sub(r"\033\[\d*[FJ]", "", terminal.getvalue().rpartition("\033[J")[0])
    assert all(len(line) < 60 for line in drawn_before.splitlines()), "a line that wraps could not be drawn over"
    assert "0 complete, 0 pruned, 0 failed" in " ".join(drawn_before.split())


def test_lines_that_do_not_fit_on_the_terminal_are_counted():
    fitting = status_module._fitting([f"line {n}" for n in range(30)], width=40, height=10)
    assert len(fitting) == 9
    assert fitting[-1].startswith("and 22 more lines")
    assert status_module._fitting(["a", "b"], width=40, height=10) == ["a", "b"]


def test_ctrl_c_ends_the_watcher_and_not_as_a_success(run, capsys, monkeypatch):
    def ctrl_c(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", ctrl_c)
    with run.lock():
        assert main(["status", str(run.path), "--watch"]) == 130
    assert capsys.readouterr().err == "resvae-ray: stopped watching; the search continues\n"
