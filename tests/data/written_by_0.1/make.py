"""Writes the files beside it as version 0.1.0 (commit 37cec0f) made them: DATASET, three RUNs, MODEL and LATENTS.

    python make.py TARGET        # with that commit installed; TARGET is a new folder

`interrupted` was killed during the search, `halfway` during the final round, `finished` ended. expected.json holds what
that version read in each. Ray's own files, which nothing reads, are left out. Names of machines and folders are
replaced.
"""

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = "/data"  # the folder that the files name as their own location
SEARCH = """
name = "small"

[space]
z_dim = { low = 2, high = 3 }
hidden_dim = { low = 4, high = 6 }
lr = { choices = [1e-3, 2e-2, 1e30] }

[training]
epochs = 5
batch_size = 16

[search]
trials = 7
startup_trials = 3
grace = 1
reduction_factor = 2.0
checkpoint_every_s = 0.0
finalists = 2
seeds = 2

[resources]
concurrent = 1
cpus_per_trial = 1.0
"""


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) / "work"
        work.mkdir()
        write_features(work / "features.parquet")
        (work / "search.toml").write_text(SEARCH)
        verb(work, "split", "features.parquet", "dataset")
        tune = ("tune", "dataset", "finished", "--config", "search.toml")
        verb(work, *tune)
        killed(work, "interrupted", lambda run: lines(run / "epochs.jsonl") >= 9)
        killed(work, "halfway", lambda run: lines(run / "finalists" / "epochs.jsonl") >= 7)
        verb(work, "export", "finished", "model")
        verb(work, "encode", "model", "dataset/val", "latents.parquet")
        for run in ("finished", "interrupted", "halfway"):
            strip(work, work / run)
        (work / "search.toml").unlink()
        runs = ("finished", "interrupted", "halfway")
        expected = {run: printed(work, run) for run in runs}
        (work / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
        shutil.copytree(work, target)


def write_features(path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(80, 2)) @ random.normal(size=(2, 6)) + 0.1 * random.normal(size=(80, 6))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).reshape(-1)), 6)
    ids = [f"p{number}" for number in range(80)]
    labels = ["a" if value > 0 else "b" for value in values[:, 0]]
    pq.write_table(pa.table({"id": ids, "features": vectors, "label": labels}), path)


def verb(work: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "resvae_ray", *arguments]
    return subprocess.run(command, cwd=work, check=True, stdout=subprocess.PIPE, text=True).stdout


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed(work: Path, run: str, reached) -> None:
    """Kills a search once `reached` is true for its run, in the middle of a training that has saved its state."""
    command = [sys.executable, "-m", "resvae_ray", "tune", "dataset", run, "--config", "search.toml"]
    for _ in range(20):
        shutil.rmtree(work / run, ignore_errors=True)
        process = subprocess.Popen(command, cwd=work)
        while process.poll() is None and not reached(work / run):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(5)
        if list((work / run).glob("*/*/resume.safetensors")):
            return
    raise SystemExit(f"{run}: no training was at work when it was killed")


def strip(work: Path, run: Path) -> None:
    (run / "run.lock").unlink(missing_ok=True)
    for folder in (run / "tune").iterdir():
        if folder.is_file() and "tfevents" not in folder.name:
            folder.unlink()
        elif folder.is_dir():
            kept = [file for file in folder.iterdir() if "tfevents" in file.name]
            if not kept or folder.name.startswith("projector"):
                shutil.rmtree(folder)
                continue
            for file in folder.iterdir():
                if file not in kept:
                    file.unlink()
    for file in run.rglob("*"):
        if "tfevents" in file.name:
            file.rename(file.with_name(file.name.replace(socket.gethostname(), "node-a")))
        elif file.suffix in (".json", ".jsonl", ".csv", ".txt", ".md"):
            text = file.read_text().replace(str(work), HERE).replace(socket.gethostname(), "node-a")
            file.write_text(text)
    info = json.loads((run / "run.json").read_text())
    for session in info["sessions"]:
        session["hardware"]["system"] = "Linux"
    (run / "run.json").write_text(json.dumps(info, indent=2) + "\n")
    from resvae_ray.search.run import Run

    Run.open(run).write_tables()


def printed(work: Path, run: str) -> dict:
    """Returns this version's report on the RUN, without the time-dependent parts."""
    from resvae_ray.search.run import Run

    opened = Run.open(work / run)
    status = json.loads(verb(work, "status", run, "--json"))
    del status["last_epoch_s"]
    return {
        "status": status,
        "trials": json.loads(opened.trials().to_json(orient="records", double_precision=15)),
        "epochs": json.loads(opened.epochs().to_json(orient="records", double_precision=15)),
        "finalists": [finalist.row() for finalist in opened.finalists()],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
