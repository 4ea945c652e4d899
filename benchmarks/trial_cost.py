"""The cost of a trial beyond its training.

    python -m benchmarks.trial_cost [--rows 2647] [--dim 320] [--trials 5] [--epochs 80]

runs a search of trials that none stops, one at a time on one core, on synthetic proteins split 4 : 1, and reads from
its record: the time between the last epoch of a trial and the first moment of the next one's training (its end, the
next proposal, process, imports, rows, network), and the time between the first and the last epoch of a trial that is
not its training and validation (reports, checkpoints). The first trial, which waits for its process, stands apart.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import report, verb
from resvae_ray import names
from resvae_ray.data.synthetic import write_synthetic_csv
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import TrainingRecord


def main() -> None:
    """Runs the search and prints what its trials cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2647)
    parser.add_argument("--dim", type=int, default=320)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=80)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_synthetic_csv(folder / "proteins.csv", options.rows * 5 // 4, options.dim)
        verb("import", folder / "proteins.csv", folder / "features.parquet")
        verb("split", folder / "features.parquet", folder / "dataset")
        started = time.time()
        lengths = {"--trials": options.trials, "--epochs": options.epochs, "--grace": options.epochs}
        widths = {"--z-dim": 18, "--hidden-dim": 859}
        flags = [str(part) for pair in (lengths | widths).items() for part in pair]
        verb("tune", folder / "dataset", folder / "run", "--concurrent", 1, "--cpus-per-trial", 1, *flags)
        trials = [trial for trial in Run.open(folder / "run").records() if trial.epochs]
    pairs = list(itertools.pairwise(trials))
    reporting, training = sum(map(_beside, trials)), sum(map(_trained, trials))
    report(
        "trial_cost",
        rows=options.rows,
        dim=options.dim,
        trials=len(trials),
        epochs=options.epochs,
        until_first_trial_trains_s=_begin(trials[0]) - started,
        between_trials_s=statistics.median(_begin(after) - _end(before) for before, after in pairs),
        beside_training_share=reporting / training,
        beside_training_ms_an_epoch=1000 * reporting / (len(trials) * (options.epochs - 1)),
        epoch_s=training / (len(trials) * (options.epochs - 1)),
    )


def _begin(trial: TrainingRecord) -> float:
    return trial.epochs[0][names.TIME] - trial.epochs[0][names.SECONDS]


def _end(trial: TrainingRecord) -> float:
    return trial.epochs[-1][names.TIME]


def _trained(trial: TrainingRecord) -> float:
    """Seconds of training and validation after the first epoch."""
    return sum(epoch[names.SECONDS] for epoch in trial.epochs[1:])


def _beside(trial: TrainingRecord) -> float:
    """Seconds after the first epoch that were neither."""
    return _end(trial) - trial.epochs[0][names.TIME] - _trained(trial)


if __name__ == "__main__":
    main()
