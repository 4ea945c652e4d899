"""What does a whole search cost, and what does it find?

    python -m benchmarks.search FEATURES [--seed 0] [--folder FOLDER] [--target LOSS] [OPTIONS OF tune …]

imports FEATURES (any format that `import` reads), splits them as the paper does, runs `tune`, and prints one line of
JSON: the best loss and its configuration, epochs in all and until the target loss was reached, wall and CPU seconds.
CPU seconds are the whole machine's, from /proc/stat, so nothing else should run beside it.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import verb
from resvae_ray import names
from resvae_ray.search.run import Run


def main() -> None:
    """Runs the search and prints what it came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--folder", type=Path, help="keep what is made there")
    parser.add_argument("--target", type=float, default=26804.0, help="a loss to come down to")
    options, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        verb("import", options.features, folder / "features.parquet")
        verb("split", folder / "features.parquet", folder / "dataset")
        wall, cpu = time.time(), _machine_cpu_seconds()
        verb("tune", folder / "dataset", folder / "run", "--seed", options.seed, *rest)
        cost = {"wall_s": round(time.time() - wall, 1), "cpu_s": round(_machine_cpu_seconds() - cpu, 1)}
        print(json.dumps(_result(Run.open(folder / "run"), options.target) | cost))


def _result(run: Run, target: float) -> dict[str, Any]:
    best, status = run.best(), run.status()
    in_time = sorted((row for record in run.records() for row in record.epochs), key=lambda row: row[names.TIME])
    reached = next((n for n, row in enumerate(in_time, 1) if row[names.VAL_LOSS] <= target), None)
    return {
        "best_val_loss": best.best_val_loss if best else None,
        "best": best.params if best else None,
        "best_epoch": best.best_epoch if best else None,
        "counts": {state: count for state, count in status["counts"].items() if count},
        "epochs": status["epochs"],
        f"epochs_to_{target:g}": reached,
        "slots": run.info["sessions"][0]["slots"],
    }


def _machine_cpu_seconds() -> float:
    """Seconds that all processors have worked since the start of the machine."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    busy = [int(value) for position, value in enumerate(fields[:8]) if position not in (3, 4)]  # not idle, not iowait
    return sum(busy) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
