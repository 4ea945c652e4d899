"""The cost of a whole search, and its result.

    python -m benchmarks.search FEATURES OUT.jsonl [--seeds 0 1 2] [--contenders ours stock published]
                                [--published FOLDER] [--folder FOLDER] [--target LOSS] [OPTIONS OF tune …]

imports FEATURES (any format that `import` reads; the NPZ of benchmarks/search_peers.py where there are peers), splits
them as the paper does, and runs for each seed each contender in turn: our `tune`, with the options given; the same
space with Ray's own parts; the published code. Adds a line of JSON a search to OUT, and passes over those that stand
there: the best loss, epochs in all and until the target loss was reached, wall seconds of both, CPU seconds. At the end
it prints the medians, and wall seconds as multiples of ours. CPU seconds are the whole machine's, from /proc/stat, so
nothing else should run beside it.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import report, verb
from benchmarks.search_peers import Epochs, stock, the_published
from resvae_ray import names
from resvae_ray.search.run.run import Run

Search = Callable[[int], tuple[Epochs, dict[str, Any]]]  # of a seed: its epochs, what else is known
OURS, STOCK, PUBLISHED = "ours", "stock", "published"


def main() -> None:
    """Runs the searches that are missing and prints what they came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--contenders", nargs="+", choices=[OURS, STOCK, PUBLISHED], default=[OURS])
    parser.add_argument("--published", type=Path, help="the folder of reference.py")
    parser.add_argument("--folder", type=Path, help="keep what is made there")
    parser.add_argument("--target", type=float, default=26804.5, help="a loss to come down to; the published search's")
    options, rest = parser.parse_known_args()
    if options.published is None and set(options.contenders) - {OURS}:
        parser.error("--contenders stock published: both need --published")
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    with tempfile.TemporaryDirectory() as temporary:
        searches = _searches(options, options.folder or Path(temporary), rest)
        for seed in options.seeds:
            for name, search in searches.items():
                asked = _asked(options, rest, name, seed)
                if not any(asked.items() <= row.items() for row in rows):
                    rows.append({**asked, **_measured(search, seed, options.target)})
                    with options.out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    asked = [_asked(options, rest, name, seed) for name in searches for seed in options.seeds]
    wanted = [row for row in rows if any(one.items() <= row.items() for one in asked)]
    report("search", target=options.target, seeds=options.seeds, medians=_medians(wanted))


def _asked(options: argparse.Namespace, rest: list[str], name: str, seed: int) -> dict[str, Any]:
    """Everything that distinguishes one search from another."""
    how = " ".join(rest) if name == OURS else ""
    return {
        "contender": name,
        "seed": seed,
        "features": options.features.name,
        "target": options.target,
        "options": how,
    }


def _searches(options: argparse.Namespace, folder: Path, rest: list[str]) -> dict[str, Search]:
    peers = {STOCK: stock, PUBLISHED: the_published}
    found: dict[str, Search] = {}
    for name in options.contenders:
        if name == OURS:
            found[name] = _ours(options.features, folder, rest)
        else:
            found[name] = lambda seed, peer=peers[name]: (peer(options.features, options.published, seed), {})
    return found


def _ours(features: Path, folder: Path, rest: list[str]) -> Search:
    dataset = folder / "dataset"
    if not dataset.exists():
        verb("import", features, folder / "features.parquet")
        verb("split", folder / "features.parquet", dataset)

    def search(seed: int) -> tuple[Epochs, dict[str, Any]]:
        """Runs `tune` under that seed."""
        verb("tune", dataset, folder / f"run-{seed}", "--seed", seed, *rest)
        run = Run.open(folder / f"run-{seed}")
        best, counts = run.best(), run.status()["counts"]
        known = {
            "best": best.params if best else None,
            "best_epoch": best.best_epoch if best else None,
            "counts": {state: count for state, count in counts.items() if count},
            "slots": run.info["sessions"][0]["slots"],
        }
        rows = (row for record in run.records() for row in record.epochs)
        return sorted((row[names.TIME], row[names.VAL_LOSS]) for row in rows), known

    return search


def _measured(search: Search, seed: int, target: float) -> dict[str, Any]:
    began, cpu = time.time(), _machine_cpu_seconds()
    epochs, known = search(seed)
    cost = {"wall_s": round(time.time() - began, 1), "cpu_s": round(_machine_cpu_seconds() - cpu, 1)}
    reached = next(((n, at) for n, (at, loss) in enumerate(epochs, 1) if loss <= target), None)
    to_target = {
        "epochs_to_target": reached and reached[0],
        "wall_to_target_s": reached and round(reached[1] - began, 1),
    }
    best = min(loss for _, loss in epochs)
    return {"best_val_loss": best, "epochs": len(epochs), **to_target, **cost, **known}


def _medians(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By contender; a search that did not come to its target took endlessly long to it, which JSON calls null."""
    keys = ("best_val_loss", "epochs", "epochs_to_target", "wall_to_target_s", "wall_s", "cpu_s")
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(row["contender"] for row in rows):
        of_one = [row for row in rows if row["contender"] == name]
        medians = {key: median(math.inf if row[key] is None else row[key] for row in of_one) for key in keys}
        found[name] = {key: value if math.isfinite(value) else None for key, value in medians.items()}
    for of_one in found.values():
        of_one["wall_to_ours"] = of_one["wall_s"] / found[OURS]["wall_s"] if OURS in found else None
    return found


def _machine_cpu_seconds() -> float:
    """Seconds that all processors have worked since the start of the machine."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    busy = [int(value) for position, value in enumerate(fields[:8]) if position not in (3, 4)]  # not idle, not iowait
    return sum(busy) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
