"""Simulates import, check, split, a search and an encoding on 1 to 64 GPUs and for 10^5 to 10^9 proteins.

    python -m benchmarks.growth [--front] [--gpus 1 4 16] [--proteins 1e5 1e7 1e9] [--train-rows-per-s 60000] [--json]

No hardware: a simulation. Trials with learning curves drawn from a family of power laws go through the scheduler that a
search uses, `DurableASHA`, on a number of GPUs; the cost of each epoch follows from `Rates`, all of them options.
For each size it prints time, cost, and the limit: whichever of the parts of an epoch, or the driver, is the slowest.
--front prints the same of what comes before the search, on the cores beside the GPUs.
`run.epochs()` of a small search of your own has your `rows_per_s`; put it in.
"""

import argparse
import heapq
import json
from dataclasses import asdict, dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import TrialScheduler

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.search.asha import DurableASHA

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Rates:
    """Durations: measured, see benchmarks/RESULTS.md, or assumed; replace these by your own.

    Attributes:
        dim: D, numbers a protein.
        train_rows_per_s: that a GPU trains on, resident, at batch 32 (assumed).
        encode_rows_per_s: that a GPU encodes (assumed).
        decode_rows_per_s: Parquet to float32 by one core (measured at D 1280).
        import_rows_per_s, check_rows_per_s, split_rows_per_s: of one core (measured at D 1280).
        id_s: of a task that compares ids, for each row (measured); each reads all ids.
        draw_s: of the driver's, for each row that `split` draws (measured).
        cores: a GPU has beside it for reading.
        node_mb_per_s: that a node reads from the shared storage (assumed: 10 Gbit/s).
        shared_mb_per_s: that the storage gives all nodes together (S3: very much; a file server: its network).
        gpu_memory_gb: for rows that stay on the GPU; more are streamed, every epoch anew.
        start_s, first_start_s: of a trial on a slot that is warm, and on one that is not (measured).
        report_s: of the driver's, for each epoch of each trial (measured).
        propose_s: of the driver's, for each trial: TPE (measured).
        checkpoint_mb: weights, best weights and Adam's state of a trial.
        checkpoints: a trial of full length (two rungs and the end; more where an epoch takes longer than 30 s).
        gpu_hour, head_hour: price of a worker with one GPU and of the head, in any currency.
    """

    dim: int = 1280
    train_rows_per_s: float = 60_000
    encode_rows_per_s: float = 1_000_000
    decode_rows_per_s: float = 110_000
    import_rows_per_s: float = 28_000
    check_rows_per_s: float = 20_000
    split_rows_per_s: float = 18_000
    id_s: float = 6e-7
    draw_s: float = 6e-8
    cores: int = 4
    node_mb_per_s: float = 1_250
    shared_mb_per_s: float = 50_000
    gpu_memory_gb: float = 20
    start_s: float = 0.1
    first_start_s: float = 8.0
    report_s: float = 0.0025
    propose_s: float = 0.05
    checkpoint_mb: float = 64
    checkpoints: int = 3
    gpu_hour: float = 1.0
    head_hour: float = 0.2

    def parts(self, rows: float, gpus: int) -> dict[str, float]:
        """Seconds that each part of an epoch over `rows` takes on one of `gpus`; they overlap, the largest counts."""
        parts = {"training": rows / self.train_rows_per_s}
        if self.streams(rows):
            parts |= self.reading(rows, gpus)
        return parts

    def streams(self, rows: float) -> bool:
        """Whether the rows do not fit on a GPU."""
        return rows * self.dim * FLOAT_BYTES > self.gpu_memory_gb * 1e9

    def reading(self, rows: float, gpus: int) -> dict[str, float]:
        """Seconds that one GPU's reading of `rows` takes while all read."""
        megabytes = rows * self.dim * FLOAT_BYTES / 1e6
        return {
            "decoding Parquet": rows / (self.decode_rows_per_s * self.cores),
            "a node's network": megabytes / self.node_mb_per_s,
            "the shared storage": megabytes * gpus / self.shared_mb_per_s,
        }

    def cost(self, seconds: float, gpus: int) -> float:
        """The cost of the head and the GPUs for that time."""
        return seconds / 3600 * (self.head_hour + gpus * self.gpu_hour)


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--proteins", nargs="+", type=float, default=[1e5, 1e6, 1e7, 1e8, 1e9])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--front", action="store_true", help="import, check and split instead of search and encode")
    parser.add_argument("--json", action="store_true")
    for rate in fields(Rates):
        flag = f"--{rate.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(rate.default), default=rate.default, metavar="NUMBER")
    options = parser.parse_args()
    rates = Rates(**{rate.name: getattr(options, rate.name) for rate in fields(Rates)})
    size, table = (_front, _front_table) if options.front else (_size, _table)
    rows = [size(rates, proteins, gpus, options) for proteins in options.proteins for gpus in options.gpus]
    print(json.dumps({"rates": asdict(rates), "sizes": rows}) if options.json else table(rows))


def _size(rates: Rates, proteins: float, gpus: int, options: argparse.Namespace) -> dict[str, Any]:
    searched = search(rates, proteins, gpus, options.trials, options.seed)
    return {"proteins": proteins, "gpus": gpus, "search": searched, "encode": encode(rates, proteins, gpus)}


def _front(rates: Rates, proteins: float, gpus: int, options: argparse.Namespace) -> dict[str, Any]:
    ids = rates.id_s * proteins
    return {
        "proteins": proteins,
        "gpus": gpus,
        "import": job(rates, proteins, gpus, rates.import_rows_per_s, 2, {"comparing ids": ids}),
        "check": job(rates, proteins, gpus, rates.check_rows_per_s, 1, {"comparing ids": ids}),
        "split": job(
            rates, proteins, gpus, rates.split_rows_per_s, 3, {"comparing ids": ids, "drawing": rates.draw_s * proteins}
        ),
    }


def job(
    rates: Rates, proteins: float, nodes: int, core_rows_per_s: float, passes: int, before: dict[str, float]
) -> dict[str, Any]:
    """A job on the cores of the nodes.

    Args:
        passes: how often the features cross a node's network: `split` reads them for each side and writes them.
        before: seconds of steps that one process, or each task alone, takes first.
    """
    core = core_rows_per_s * 1280 / rates.dim
    parts = {"the cores": proteins / (core * rates.cores * nodes)} | {
        part: seconds * passes
        for part, seconds in rates.reading(proteins / nodes, nodes).items()
        if "Parquet" not in part
    }
    seconds = rates.first_start_s + sum(before.values()) + max(parts.values())
    limits = parts | before | {"the start": rates.first_start_s}
    return {
        "seconds": seconds,
        "cost": rates.cost(seconds, nodes),
        "limit": max(limits, key=lambda part: limits[part]),
    }


def search(rates: Rates, proteins: float, gpus: int, trials: int, seed: int) -> dict[str, Any]:
    """A search on that number of GPUs, event by event: a slot starts a trial, an epoch ends, the scheduler judges."""
    config = replace(Config(), search=replace(Config().search, trials=trials, seed=seed))
    parts = rates.parts(proteins, gpus)
    saving = rates.checkpoint_mb / min(rates.node_mb_per_s, rates.shared_mb_per_s / gpus)
    epoch_s = max(parts.values()) + rates.checkpoints * saving / config.training.epochs
    loading = 0.0 if rates.streams(proteins) else max(rates.reading(proteins, gpus).values())
    seconds, epochs, driver_s = _simulate(config, rates, min(gpus, trials), epoch_s, rates.first_start_s + loading)
    limits = {part: took * epochs / gpus for part, took in parts.items()}
    limits |= {
        "the driver": driver_s,
        "the length of one trial": epoch_s * config.training.epochs,
        "the start": rates.first_start_s + loading,
    }
    return {
        "seconds": seconds,
        "cost": rates.cost(seconds, gpus),
        "epochs": epochs,
        "driver_busy": driver_s / seconds,
        "gpu_use": epochs * parts["training"] / (seconds * gpus),
        "limit": max(limits, key=lambda part: limits[part]),
    }


def _simulate(config: Config, rates: Rates, slots: int, epoch_s: float, first_s: float) -> tuple[float, int, float]:
    """Seconds, epochs, and the driver's seconds of work; it does one thing at a time, and reports wait in a queue."""
    scheduler, length = DurableASHA(config), config.training.epochs
    generator = np.random.default_rng(config.search.seed)
    curves = [_curve(generator, length) for _ in range(config.search.most_trials)]
    free_at = now = driver_s = 0.0
    begun = epochs = 0
    events: list[tuple[float, int, tuple[Any, int] | None]] = [(0.0, slot, None) for slot in range(slots)]
    while events:
        now, slot, running = heapq.heappop(events)
        work = rates.propose_s if running is None else rates.report_s
        if running is None and begun == len(curves):
            continue
        free_at = max(free_at, now) + work
        driver_s += work
        if running is None:
            trial: Any = SimpleNamespace(trial_id=str(begun), config={names.NUMBER: begun})
            scheduler.on_trial_add(None, trial)
            start = rates.start_s if begun >= slots else first_s
            heapq.heappush(events, (free_at + start + epoch_s, slot, (trial, 1)))
            begun += 1
            continue
        trial, epoch = running
        epochs += 1
        result = {names.EPOCH: epoch, names.BEST_VAL_LOSS: curves[trial.config[names.NUMBER]][epoch - 1]}
        ended = epoch == length or scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP
        heapq.heappush(events, (free_at, slot, None) if ended else (free_at + epoch_s, slot, (trial, epoch + 1)))
    return now, epochs, driver_s


def encode(rates: Rates, proteins: float, gpus: int) -> dict[str, Any]:
    """An encoding: every GPU reads, encodes and writes files of its own."""
    parts = {"encoding": proteins / gpus / rates.encode_rows_per_s} | rates.reading(proteins / gpus, gpus)
    seconds = rates.first_start_s + max(parts.values())
    limit = "the start" if rates.first_start_s > seconds / 2 else max(parts, key=lambda part: parts[part])
    return {"seconds": seconds, "cost": rates.cost(seconds, gpus), "limit": limit}


def _curve(generator: np.random.Generator, epochs: int) -> list[float]:
    """A running minimum that falls as a power of the epoch to a floor, with the spread that real searches show."""
    floor, drop = generator.lognormal(10.2, 0.15), generator.lognormal(10.8, 0.5)
    speed = generator.uniform(0.5, 1.5)
    noise = generator.lognormal(0, 0.05, epochs)
    losses = (floor + drop * np.arange(1, epochs + 1) ** -speed) * noise
    return np.minimum.accumulate(losses).tolist()


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| proteins | GPUs | search | cost | GPUs at work | limit | encode | cost | limit |",
        "|---:|---:|---:|---:|---:|---|---:|---:|---|",
    ]
    for row in rows:
        found, encoded = row["search"], row["encode"]
        lines.append(
            f"| {row['proteins']:.0e} | {row['gpus']} | {_time(found['seconds'])} | {found['cost']:,.2f} | "
            f"{found['gpu_use']:.0%} | {found['limit']} | {_time(encoded['seconds'])} | {encoded['cost']:,.2f} | "
            f"{encoded['limit']} |"
        )
    return "\n".join(lines).replace("e+0", "e")


def _front_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| proteins | nodes | import | limit | check | limit | split | limit | cost of the three |",
        "|---:|---:|---:|---|---:|---|---:|---|---:|",
    ]
    for row in rows:
        jobs = [row[verb] for verb in ("import", "check", "split")]
        cells = " | ".join(f"{_time(found['seconds'])} | {found['limit']}" for found in jobs)
        cost = sum(found["cost"] for found in jobs)
        lines.append(f"| {row['proteins']:.0e} | {row['gpus']} | {cells} | {cost:,.2f} |")
    return "\n".join(lines).replace("e+0", "e")


def _time(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    main()
