"""How well do losses at a rung rank configurations? Spearman's correlation with the lowest loss at the end.

    python -m benchmarks.rank_correlations CURVES.parquet [--rungs 10 30] [--factor 3] [--best 24]

CURVES is what `benchmarks.record_curves` recorded; curves that diverged are left out. For each rung, among all and
among the best: of the lowest loss so far, and of the loss that it would come to at `factor` times the epochs, if it
fell on as a power of the epoch, by which resvae_ray/search/promotion.py promotes.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measuring import report


def main() -> None:
    """Computes and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--rungs", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--factor", type=float, default=3.0)
    parser.add_argument("--best", type=int, default=24)
    options = parser.parse_args()
    losses = np.stack(pd.read_parquet(options.curves)["losses"].tolist())
    lowest = np.minimum.accumulate(losses[np.isfinite(losses).all(1)], axis=1)
    best = np.argsort(lowest[:, -1])[: options.best]
    found = {}
    for rung in options.rungs:
        now, before = lowest[:, rung - 1], lowest[:, max(1, round(rung / options.factor)) - 1]
        for name, judged in {"lowest so far": now, "expected": now * now / before}.items():
            found[f"{name}, epoch {rung}"] = [
                round(pd.Series(judged[which]).corr(pd.Series(lowest[which, -1]), method="spearman"), 2)
                for which in (slice(None), best)
            ]
    report("rank_correlations", all_and_best=found, curves=len(lowest), best=options.best)


if __name__ == "__main__":
    main()
