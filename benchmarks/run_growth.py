"""How does the driver's own work grow with a search: RUNs of 50 to 2,000 trials of 80 epochs, written by this script.

    python -m benchmarks.run_growth [--trials 50 200 600 2000] [--ended 5] [--folder DIR] [--json]

For each size it writes a RUN and then lets more trials end in it, through the callbacks and the searcher of a real
search, without training: `end` is the driver's time when a trial ends (record, tables, TensorBoard, console, upload),
`epoch` its time for a report, `propose` TPE's for a trial. `status` is the verb, as a process of its own. It runs on
earlier versions too, and reuses the RUNs in --folder, so that two versions can be measured in turn on the same RUNs.
"""

import argparse
import importlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.synthetic import synthetic_batches

EPOCHS = 80
PARAMS = {"z_dim": 18, "hidden_dim": 859, "lr": 4.69e-4}
DISTRIBUTIONS = {
    "z_dim": '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 10, "high": 50}}',
    "hidden_dim": '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 250, "high": 1000}}',
    "lr": '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.001, "log": true}}',
}
# Where the parts are now, and where they were before.
PLACES = {
    "Run": ("search.run.run", "search.run"),
    "Recorder": ("search.callbacks.recorder", "search.recorder"),
    "Sender": ("search.callbacks.recorder", "search.recorder"),
    "TensorBoard": ("search.callbacks.tensorboard", "search.tensorboard"),
    "ConsoleProgress": ("search.callbacks.console", "search.progress:Progress"),
    "StudySearch": ("search.tpe", "search.optimizer"),
    "open_study": ("search.study", "search.tpe", "search.optimizer"),
}


def part(name: str) -> Any:
    """A class or function of the search, from the module that has it in this version."""
    for place in PLACES[name]:
        module, _, other = place.partition(":")
        with suppress(ImportError):
            found = getattr(importlib.import_module(f"resvae_ray.{module}"), other or name, None)
            if found is not None:
                return found
    raise SystemExit(f"{name}: not in this version")


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", nargs="+", type=int, default=[50, 200, 600, 2000])
    parser.add_argument("--ended", type=int, default=5, help="trials that end in each RUN")
    parser.add_argument("--folder", type=Path, help="keep the RUNs here, or take them from here")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        rows = [measure(written(folder, trials), Path(scratch), options.ended) for trials in options.trials]
    print(json.dumps(rows) if options.json else _table(rows))


def written(folder: Path, trials: int) -> Path:
    """Write a RUN of `trials` trials of 80 epochs, all pruned or complete."""
    path = folder / f"run-{trials}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    dataset = folder / "dataset"
    if not dataset.exists():
        with FeaturesWriter(folder / "features.parquet", 12, {}) as writer:
            for batch in synthetic_batches(60, 12, 0):
                writer.write(batch)
        split_features(folder / "features.parquet", dataset)
    config = replace(Config(), data=replace(Config().data, mode="resident"))
    config = replace(config, search=replace(config.search, trials=trials))
    run = part("Run").create(path, config, Dataset.open(dataset), {"study": "s", "created": "2026-11-29T12:00:00Z"})
    random, clock = np.random.default_rng(0), 1.79e9
    with (path / names.JOURNAL_FILE).open("w") as journal, (path / names.EPOCHS_FILE).open("w") as epochs:
        journal.write(_line({"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [1]}))
        for number in range(trials):
            _write_trial(number, random, clock + number * EPOCHS, journal, epochs)
    run.write_tables()
    return path


def _write_trial(number: int, random: np.random.Generator, clock: float, journal: Any, epochs: Any) -> None:
    at = {"worker_id": "w", "trial_id": number}
    began = "2026-11-29T12:00:00.000000+00:00"
    journal.write(_line({"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": began}))
    drawn = {
        "z_dim": float(random.integers(10, 51)),
        "hidden_dim": float(random.integers(250, 1001)),
        "lr": 10 ** random.uniform(-5, -3),
    }
    for name, value in drawn.items():
        about = {"param_name": name, "param_value_internal": value, "distribution": DISTRIBUTIONS[name]}
        journal.write(_line({"op_code": 5, **at, **about}))
    losses = 25000 + 60000 * np.exp(-np.arange(EPOCHS) / 15) + random.normal(scale=300, size=EPOCHS)
    for epoch in range(1, EPOCHS + 1):
        row = {names.NUMBER: number, **result(epoch, losses[:epoch])}
        row |= {names.NODE: row.pop("hostname"), names.TIME: clock + epoch}
        epochs.write(json.dumps(row) + "\n")
        value = float(losses[:epoch].min())
        journal.write(_line({"op_code": 7, **at, "step": epoch, "intermediate_value": value}))
    end = {"state": 1, "values": [float(losses.min())], "datetime_complete": began}
    journal.write(_line({"op_code": 6, **at, **end}))


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":")) + "\n"


def result(epoch: int, losses: np.ndarray) -> dict[str, Any]:
    """A worker's report of an epoch."""
    about = {
        names.EPOCH: epoch,
        names.TRAIN_LOSS: float(losses[-1]) * 1.01,
        names.VAL_LOSS: float(losses[-1]),
        names.BEST_VAL_LOSS: float(losses.min()),
        names.BEST_EPOCH: int(losses.argmin()) + 1,
    }
    others = (names.VAL_RECONSTRUCTION, names.VAL_KLD, names.R2, names.WORST_LOSS, names.LEARNING_RATE)
    about |= dict.fromkeys(others, 12.3456789012345)
    about |= {names.ACTIVE_UNITS: 18, names.WORST_ROW: 812, names.ROWS_PER_SECOND: 12345.678, names.SECONDS: 0.5}
    return about | {names.DEVICE: "cpu", "hostname": "node-a"}


def measure(source: Path, scratch: Path, ended: int) -> dict[str, Any]:
    """Milliseconds of the driver in a copy of the RUN, and seconds of the verb `status`."""
    path = scratch / "copy"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(source, path)
    run = part("Run").open(path)
    trials = run.config.search.most_trials
    run = replace(run, config=replace(run.config, search=replace(run.config.search, trials=trials + ended)))
    study = part("open_study")(path / names.JOURNAL_FILE, "s")
    searcher = part("StudySearch")(study, run.config, [])
    callbacks = [part("Recorder")(run), part("TensorBoard")(run)]
    callbacks += [part("ConsoleProgress")(run, io.StringIO()), part("Sender")(run)]
    propose, epoch, end = Spent(), Spent(), Spent()
    began = time.perf_counter()
    for number in range(trials, trials + ended):
        _one_trial(str(number), searcher, callbacks, propose, epoch, end)
    for callback in callbacks:
        if hasattr(callback, "close"):
            with end:
                callback.close()
    with Spent() as table:
        run.write_tables()
    return {
        "trials": trials,
        "end_ms": end.milliseconds(ended),
        "tables_ms": table.milliseconds(1),
        "epoch_ms": epoch.milliseconds(ended * EPOCHS),
        "propose_ms": propose.milliseconds(ended),
        "wall_s": time.perf_counter() - began,
        "status_s": _status(path),
    }


class Spent:
    """The wall and CPU time of this process within `with` blocks."""

    def __init__(self) -> None:
        self.wall, self.cpu = 0.0, 0.0

    def __enter__(self) -> "Spent":
        self._began = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *error: object) -> None:
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]

    def milliseconds(self, times: int) -> dict[str, float]:
        """Per one of `times`."""
        return {"wall": round(1e3 * self.wall / times, 2), "cpu": round(1e3 * self.cpu / times, 2)}


def _one_trial(name: str, searcher: Any, callbacks: Sequence[Any], propose: Spent, epoch: Spent, end: Spent) -> None:
    with propose:
        proposal = searcher.suggest(name)
    trial = SimpleNamespace(config=proposal | {"job": {"gpu": False}}, last_result=None, error_file=None)
    _all(callbacks, "on_trial_start", trial)
    losses = 26000 + 60000 * np.exp(-np.arange(EPOCHS) / 15)
    for at in range(1, EPOCHS + 1):
        trial.last_result = report = result(at, losses[:at])
        with epoch:
            if at < EPOCHS:
                searcher.on_trial_result(name, report)
            _all(callbacks, "on_trial_result", trial, report)
    with end:
        searcher.on_trial_complete(name, trial.last_result)
        _all(callbacks, "on_trial_complete", trial)


def _all(callbacks: Sequence[Any], hook: str, trial: Any, *report: Any) -> None:
    for callback in callbacks:
        if (found := getattr(callback, hook, None)) is not None:
            found(0, [], trial, *report)


def _status(path: Path) -> dict[str, float]:
    """Wall and CPU seconds of the verb."""
    import resource

    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "resvae_ray", "status", str(path), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(wall, 2), "cpu": round(cpu, 2)}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["wall (CPU): trials, ms per end, rewrite of the tables, report and proposal; s per status"]
    for row in rows:
        cells = [f"{row[name]['wall']:,.1f} ({row[name]['cpu']:,.1f})" for name in COLUMNS]
        status = f"{row['status_s']['wall']:.2f} ({row['status_s']['cpu']:.2f})"
        lines.append("  ".join(f"{cell:>19}" for cell in [f"{row['trials']:,}", *cells, status]))
    return "\n".join(lines)


COLUMNS = ("end_ms", "tables_ms", "epoch_ms", "propose_ms")

if __name__ == "__main__":
    main()
