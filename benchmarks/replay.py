"""Which searcher and scheduler finds how much in how many epochs? Searches on recorded curves, without training.

    python -m benchmarks.replay CURVES.parquet [--config esm2_650m_cls] [--seeds 30] [--first-seed 0] [--slots 2]
                                [--target LOSS] [--only TEXT] [--grace 5 10 20] [--factor 2 3 4] [--startup 5 10 20]
                                [--rungs 2:10,20,30,45,60]

CURVES is what `benchmarks.record_curves` recorded; what a configuration between its points comes to, says
`benchmarks.surrogate`. A search is a loop of events, as Tune's: a slot starts a trial, an epoch ends, the scheduler
judges. Its searchers and schedulers are the real ones: ours, stopping and promoting; random proposals with our ASHA;
Ray's OptunaSearch and ASHA as they come; the published code's TPE and median pruner, one trial after another. More
`--grace`, `--factor` and `--startup` are ours, stopping, with other settings; `--rungs` is ours with a factor and rungs
that no factor gives. Prints, for each, medians over the seeds with the 10th and 90th percentile: epochs in all, the
best loss at the end and after some numbers of epochs, epochs to the target.
"""

import argparse
import heapq
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from benchmarks.surrogate import Curves
from resvae_ray import names
from resvae_ray.config import AUTO, PROMOTE, Config
from resvae_ray.config_file import load_config
from resvae_ray.search.asha import DurableASHA
from resvae_ray.search.study import distributions
from resvae_ray.search.tpe import PromotingSearch, StudySearch

CHECKPOINTS = (200, 400, 600, 800, 1000, 1200, 1500, 2000)  # epochs in all at which the best loss is shown


class RandomSearch(StudySearch):
    """Proposes at random, and tells the study the truth all the same."""

    def _sampler(self, number: int) -> Any:
        return optuna.samplers.RandomSampler(seed=self._config.search.seed * 1000 + number)


class AtRungs(DurableASHA):
    """Judges at these epochs."""

    def __init__(self, config: Config, epochs: list[int]) -> None:
        super().__init__(config)
        for bracket in self._brackets:
            bracket._rungs = [(float(epoch), {}) for epoch in sorted(epochs, reverse=True)]


@dataclass(frozen=True)
class Course:
    """The result of a search: the lowest loss after each epoch that any trial trained."""

    best: np.ndarray

    def after(self, epochs: int) -> float:
        """The lowest loss after that number of epochs in all, or at the end if it came before."""
        return float(self.best[min(epochs, len(self.best)) - 1])

    def until(self, target: float) -> int | None:
        """Epochs until the target was reached."""
        reached = np.flatnonzero(self.best <= target)
        return int(reached[0]) + 1 if len(reached) else None


def main() -> None:
    """Replays and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves")
    parser.add_argument("--config", default="esm2_650m_cls")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="TEXT", help="contenders with this in their name")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--target", type=float)
    parser.add_argument("--json", action="store_true")
    for setting in ("grace", "factor", "startup"):
        parser.add_argument(f"--{setting}", type=float, nargs="*", default=[])
    parser.add_argument("--rungs", type=rungs, nargs="*", default=[], help="FACTOR:EPOCH,EPOCH,...")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = load_config(options.config)
    curves = Curves(pd.read_parquet(options.curves), config)
    found = {}
    for name, course_of in contenders(config, curves, options).items():
        if options.only not in name:
            continue
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        courses = [course_of(_seeded(config, seed)) for seed in seeds]
        found[name] = _summary(courses, options.target)
        if not options.json:
            print(_line(name, found[name]), flush=True)
    if options.json:
        print(json.dumps(found))


def rungs(text: str) -> tuple[float, list[int]]:
    """The factor and the epochs of `--rungs`.

    Raises:
        ValueError: it is not FACTOR:EPOCH,EPOCH,...
    """
    factor, _, epochs = text.partition(":")
    return float(factor), [int(epoch) for epoch in epochs.split(",")]


def _seeded(config: Config, seed: int) -> Config:
    return replace(config, search=replace(config.search, seed=seed))


def contenders(config: Config, curves: Curves, options: argparse.Namespace) -> dict[str, Callable[[Config], Course]]:
    """Each as a function from the configuration, with its seed, to what the search comes to."""

    def ours(seeded: Config, scheduler: TrialScheduler | None = None) -> Course:
        search = StudySearch(optuna.create_study(), seeded, [])
        return simulate(search, scheduler or DurableASHA(seeded), curves, seeded, options.slots)

    def random(seeded: Config) -> Course:
        search = RandomSearch(optuna.create_study(), seeded, [])
        return simulate(search, DurableASHA(seeded), curves, seeded, options.slots)

    def stock(seeded: Config) -> Course:
        sampler = optuna.samplers.TPESampler(seed=seeded.search.seed)
        search = OptunaSearch(distributions(seeded), metric=names.VAL_LOSS, mode="min", sampler=sampler)
        scheduler = AsyncHyperBandScheduler(
            names.EPOCH, names.VAL_LOSS, "min", max_t=curves.epochs, grace_period=10, reduction_factor=3
        )
        return simulate(search, scheduler, curves, seeded, options.slots)

    def varied(grace: float, factor: float, startup: float) -> Callable[[Config], Course]:
        changed = {"grace": int(grace), "reduction_factor": factor, "startup_trials": int(startup)}
        return lambda seeded: ours(replace(seeded, search=replace(seeded.search, **changed)))

    def judged(factor: float, epochs: list[int]) -> Callable[[Config], Course]:
        """Ours with a factor and rungs of one's own."""

        def course(seeded: Config) -> Course:
            changed = replace(seeded, search=replace(seeded.search, reduction_factor=factor))
            return ours(changed, AtRungs(changed, epochs))

        return course

    def promoting(seeded: Config) -> Course:
        changed = replace(seeded, search=replace(seeded.search, scheduler=PROMOTE))
        return simulate(PromotingSearch(optuna.create_study(), changed, []), None, curves, changed, options.slots)

    settings = config.search
    grid = itertools.product(
        options.grace or [settings.grace],
        options.factor or [settings.reduction_factor],
        options.startup or [settings.startup_trials],
    )
    named = {f"ours, grace {g:g}, factor {f:g}, start-up {s:g}": varied(g, f, s) for g, f, s in grid}

    def ended_by_itself(seeded: Config) -> Course:
        return ours(replace(seeded, search=replace(seeded.search, trials=AUTO)))

    return {
        **named,
        "ours, --trials auto": ended_by_itself,
        **{f"ours, factor {factor:g}, rungs {epochs}": judged(factor, epochs) for factor, epochs in options.rungs},
        "ours, promoting": promoting,
        "random, our ASHA": random,
        "OptunaSearch, Ray's ASHA": stock,
        "published: TPE, median pruner": lambda seeded: published(curves, seeded),
    }


def simulate(search: Searcher, scheduler: TrialScheduler | None, curves: Curves, config: Config, slots: int) -> Course:
    """A search on that number of slots, event by event. Without a scheduler the searcher says where a trial pauses."""
    best: list[float] = []
    begun, lowest = 0, np.inf
    events: list[tuple[float, int, Any]] = [(0.0, slot, None) for slot in range(slots)]
    while events:
        now, slot, running = heapq.heappop(events)
        if running is None:
            ends = scheduler is not None and begun == config.search.most_trials
            if ends or (proposed := search.suggest(str(begun))) == Searcher.FINISHED:
                continue
            if proposed is None:  # until a running trial reports; other idle slots decide nothing
                reports = min(at for at, _, other in events if other is not None)
                heapq.heappush(events, (reports + 1e-6, slot, None))
                continue
            running = _begin(proposed, scheduler, curves, begun)
            begun += 1
            heapq.heappush(events, (now + running.epoch_s, slot, running))
            continue
        running.epoch += 1
        result = running.result()
        lowest = min(lowest, result[names.VAL_LOSS])
        best.append(lowest)
        if _goes_on(search, scheduler, running, result):
            heapq.heappush(events, (now + running.epoch_s, slot, running))
        else:
            heapq.heappush(events, (now, slot, None))
    return Course(np.array(best))


class _Running:
    """A trial under way."""

    def __init__(self, trial: Any, losses: np.ndarray, epoch_s: float) -> None:
        self.trial, self.epoch_s = trial, epoch_s
        self.epoch, self.until = trial.config.get(names.PAUSED_AT, 0), trial.config.get(names.UNTIL, len(losses))
        self._losses, self._lowest = losses, np.minimum.accumulate(losses)

    def result(self) -> dict[str, Any]:
        """The report of an epoch."""
        loss, lowest = float(self._losses[self.epoch - 1]), float(self._lowest[self.epoch - 1])
        return {
            names.EPOCH: self.epoch,
            "training_iteration": self.epoch,
            names.VAL_LOSS: loss,
            names.BEST_VAL_LOSS: lowest,
        }


def _begin(proposed: Any, scheduler: TrialScheduler | None, curves: Curves, number: int) -> _Running:
    trial: Any = SimpleNamespace(trial_id=str(number), config={names.NUMBER: number, **proposed})
    if scheduler is not None:
        scheduler.on_trial_add(None, trial)  # pyright: ignore[reportArgumentType]
    return _Running(trial, *curves.of(proposed.get("params", proposed)))


def _goes_on(search: Searcher, scheduler: Any, running: _Running, result: dict[str, Any]) -> bool:
    """Tells searcher and scheduler of an epoch, as Tune does; whether the trial has another."""
    trial = running.trial
    goes_on = running.epoch < running.until
    if goes_on and scheduler is not None:
        goes_on = scheduler.on_trial_result(None, trial, result) != TrialScheduler.STOP
    if goes_on:
        search.on_trial_result(trial.trial_id, result)
        return True
    search.on_trial_complete(trial.trial_id, result)
    if scheduler is not None:
        scheduler.on_trial_complete(None, trial, result)
    return False


def published(curves: Curves, config: Config) -> Course:
    """The published code's search: TPE and median pruner as Optuna has them, one trial after another."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=config.search.seed))
    best: list[float] = []
    for _ in range(config.search.most_trials):
        trial = study.ask(distributions(config))
        losses, pruned = curves.of(trial.params)[0], False
        for epoch, loss in enumerate(losses):
            best.append(min(float(loss), best[-1] if best else np.inf))
            trial.report(float(loss), epoch)
            if pruned := trial.should_prune():
                break
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, float(losses[-1]))
    return Course(np.array(best))


def _summary(courses: list[Course], target: float | None) -> dict[str, Any]:
    ends = [len(course.best) for course in courses]
    found: dict[str, Any] = {"epochs": _spread(ends), "end": _spread([course.best[-1] for course in courses])}
    found |= {f"after {at}": _spread([course.after(at) for course in courses]) for at in CHECKPOINTS}
    if target is not None:
        reached = [course.until(target) for course in courses]
        found["to_target"] = _spread([np.inf if epochs is None else epochs for epochs in reached])
        found["reached"] = sum(epochs is not None for epochs in reached) / len(reached)
    return found


def _spread(values: list[Any]) -> list[float]:
    """Median, 10th and 90th percentile; of values, not between them, since some may be infinite."""
    return [float(np.quantile(values, part, method="higher")) for part in (0.5, 0.1, 0.9)]


def _line(name: str, found: dict[str, Any]) -> str:
    cells = [
        f"{key} {value[0]:,.0f} [{value[1]:,.0f}, {value[2]:,.0f}]" for key, value in found.items() if key != "reached"
    ]
    return f"{name}: {'; '.join(cells)}" + (f"; reached {found['reached']:.0%}" if "reached" in found else "")


if __name__ == "__main__":
    main()
