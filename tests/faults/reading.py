"""The process behind reader.py: for each line of standard input, reads a file and prints what became of it."""

# pyright: reportArgumentType=false

import json
import os
import re
import resource
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import pyarrow.parquet as pq
import torch
from reader import BUG, GREEDY, READ, REFUSED

from resvae_ray.config import DataConfig, TrainingConfig
from resvae_ray.config_file import load_config
from resvae_ray.data import importers
from resvae_ray.data.checking.check import check_features
from resvae_ray.data.dataset import RESIDENT, STREAM, Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.proteins import read_proteins
from resvae_ray.data.stream import ResidentRows, open_sides
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.model.network import ResVAE
from resvae_ray.model.training import Training
from resvae_ray.search.run.run import Run

ADDRESS_SPACE_MOST = 4 << 30  # bytes beyond what the libraries take: more fails at once, and is seen
GROWTH_MOST_MB = 400  # by a file of a few kilobytes; a batch, a block of text and their copies fit in
# HDF5 asks for the size that a file claims and fills it from the file, so that no more of it is taken than is there.
OUT_OF_MEMORY = re.compile(r"unable to alloc|can't alloc|(?<!memory )alloc\w* failed|out of memory|MemoryError", re.I)


def by_import(path: str) -> list:
    """The rows of FEATURES that `import` makes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.parquet"
        try:
            import_features(path, target)
        finally:
            left = [name for name in os.listdir(folder) if name != target.name]
            assert not left, f"{left} left behind"
        return rows_of(pq.read_table(target))


def by_features(path: str) -> list:
    """The rows of a file, or a folder of them, that is taken for FEATURES."""
    return [row for batch in Features.open(path).batches() for row in rows_of(batch.table())]


def by_check(path: str) -> list:
    """The result of `check` for FEATURES."""
    return [[str(check_features(path))]]


def by_proteins(path: str) -> list:
    """Ids and sequences of a file of proteins."""
    return [
        list(row)
        for batch in read_proteins(path)
        for row in zip(batch.ids.to_pylist(), batch.sequences.to_pylist(), strict=True)
    ]


def by_model(path: str) -> list:
    """The weights of a MODEL."""
    return [[name, str(tensor.tolist())] for name, tensor in ResVAE.from_pretrained(path).state_dict().items()]


def by_config(path: str) -> list:
    """The configuration in a TOML file."""
    return [[str(load_config(path))]]


def by_dataset(path: str) -> list:
    """A DATASET as a trial reads it, both ways."""
    dataset = Dataset.open(path)
    modes = [DataConfig(mode=mode) for mode in (RESIDENT, STREAM)]
    sides = [rows for mode in modes for rows in open_sides(dataset, mode)]
    return [[str(block.tolist()) for rows in sides for block in rows.in_order(100)], [str(dataset)]]


def by_run(path: str) -> list:
    """The result of `status` for a RUN."""
    run = Run.open(path)
    status = {name: value for name, value in run.status().items() if name != "last_epoch_s"}
    return [[str(status), str(run.trials()), str(run.best())]]


def training() -> Training:
    rows = ResidentRows(torch.linspace(-1, 1, 120).reshape(20, 6))
    return Training(TrainingConfig(z_dim=2, hidden_dim=8, epochs=2, batch_size=8), rows, rows)


def by_save(path: str) -> list:
    """A training is saved."""
    begun = training()
    list(begun.epochs())
    begun.save(Path(path))
    return []


def by_resume(path: str) -> list:
    """A training is resumed."""
    again = training()
    again.resume(Path(path))
    last = {name: value for name, value in again.last.items() if name not in ("seconds", "rows_per_s")}
    return [[str(tensor.tolist()) for tensor in again.best_model().state_dict().values()], [str(last)]]


def rows_of(table) -> list:
    return [[str(value) for value in row.values()] for row in table.to_pylist()]


WAYS = {name.removeprefix("by_"): way for name, way in list(globals().items()) if name.startswith("by_")}


def outcome(how: str, path: str) -> dict:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
    before = resident_mb("VmRSS")
    try:
        found = {"kind": READ, "rows": WAYS[how](path)}
    except (DataError, UsageError, JobError) as error:
        found = {"kind": REFUSED, "text": str(error)}
    except BaseException:
        found = {"kind": BUG, "text": traceback.format_exc()}
    found["peak_mb"] = resident_mb("VmHWM") - before
    greedy = found["peak_mb"] > GROWTH_MOST_MB or OUT_OF_MEMORY.search(found.get("text", ""))
    return found | {"kind": GREEDY, "text": found.get("text", "")} if greedy else found


def resident_mb(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def main() -> None:
    importers.APART = ()  # this process is apart
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of a library is not an answer
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ADDRESS_SPACE_MOST, resource.RLIM_INFINITY))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(outcome(*json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
