"""The configuration of a search: frozen dataclasses, read from TOML or a shipped scenario, written as TOML and JSON.

config = load_config("esm2_650m_cls")            # a scenario of resvae_ray/scenarios, or the path of a TOML file
config = replace(config, search=replace(config.search, trials=80))
"""

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args, get_type_hints

from resvae_ray.errors import UsageError

DEFAULT_SCENARIO = "esm2_650m_cls"
LOSS_TYPES = ("MSE", "RMSE")
REDUCTIONS = ("sum", "mean")
OUTPUT_BIASES = ("random", "mean")
SCHEDULES = ("constant", "cosine", "one_cycle", "wsd")
DATA_MODES = ("auto", "resident", "stream")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True)
class Metric:
    """The loss by which models are compared. It stays the same when a search varies what trials are trained with."""

    beta: float
    loss_type: str
    reduction: str


@dataclass(frozen=True)
class TrainingConfig:
    """One Res-VAE and how it is trained. The defaults are the paper's best model for ESM-2 650M `cls`."""

    z_dim: int = 18  # latents
    hidden_dim: int = 859  # units of the first encoder layer and the last decoder layer
    lr: float = 4.69e-4  # Adam's learning rate
    epochs: int = 80  # passes over the training rows
    batch_size: int = 32  # rows
    beta: float = 1000.0  # weight of the reconstruction against the KLD
    loss_type: str = "MSE"  # MSE or RMSE
    reduction: str = "sum"  # sum or mean, over the rows of a batch and their features
    dropout: float = 0.3  # probability
    output_bias: str = "random"  # at the start: random, near 0, or mean, that of the training rows
    gradient_clip: float = 0.0  # largest norm of the gradient; 0 leaves it alone
    schedule: str = "constant"  # of the learning rate: constant, cosine, one_cycle or wsd, see model/schedule.py
    warmup: float = 0.0  # fraction of the epochs over which the learning rate rises to lr
    weight_decay: float = 0.0  # a unit of lr, decoupled as in AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)
    kld_warmup: float = 0.0  # fraction of the epochs over which the weight of the KLD rises from 0 to 1
    average: float = 0.0  # decay a step of a moving average of the weights, which is validated and kept; 0 is none

    def __post_init__(self) -> None:
        _require(self.z_dim >= 1, f"training.z_dim is {self.z_dim}; it must be at least 1")
        _require(
            self.hidden_dim >= 4, f"training.hidden_dim is {self.hidden_dim}; the network divides it by 4: at least 4"
        )
        _require(self.lr > 0, f"training.lr is {self.lr}; it must be above 0")
        _require(self.epochs >= 1, f"training.epochs is {self.epochs}; it must be at least 1")
        _require(self.batch_size >= 2, f"training.batch_size is {self.batch_size}; batch norm needs at least 2 rows")
        _require(self.beta > 0, f"training.beta is {self.beta}; it must be above 0")
        _require(self.loss_type in LOSS_TYPES, f"training.loss_type is {self.loss_type!r}; expected MSE or RMSE")
        _require(self.reduction in REDUCTIONS, f"training.reduction is {self.reduction!r}; expected sum or mean")
        _require(0 <= self.dropout < 1, f"training.dropout is {self.dropout}; expected 0 to below 1")
        _require(
            self.output_bias in OUTPUT_BIASES,
            f"training.output_bias is {self.output_bias!r}; expected random or mean",
        )
        _require(self.schedule in SCHEDULES, f"training.schedule is {self.schedule!r}; expected {', '.join(SCHEDULES)}")
        _require(0 <= self.warmup < 1, f"training.warmup is {self.warmup}; expected a fraction of the epochs below 1")
        _require(
            self.schedule != "wsd" or self.warmup <= 0.8,
            f"training.warmup is {self.warmup}; wsd falls over the last 20 %, so that it can be 0.8 at most",
        )
        _require(self.weight_decay >= 0, f"training.weight_decay is {self.weight_decay}; 0 is none, else above 0")
        _require(0 <= self.kld_warmup <= 1, f"training.kld_warmup is {self.kld_warmup}; expected 0 to 1")
        _require(0 <= self.average < 1, f"training.average is {self.average}; 0 is none, else below 1")
        _require(self.gradient_clip >= 0, f"training.gradient_clip is {self.gradient_clip}; 0 is off, else above 0")

    @property
    def metric(self) -> Metric:
        """The loss that this configuration trains with, as a measure of models."""
        return Metric(self.beta, self.loss_type, self.reduction)


@dataclass(frozen=True)
class Domain:
    """The values that the search may give to one field of TrainingConfig: a range, both ends included, or choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False  # uniform in the logarithm
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.choices:
            _require(self.low is None and self.high is None, "a search range has either low and high, or choices")
            return
        _require(self.low is not None and self.high is not None, "a search range needs low and high, or choices")
        _require(self.low <= self.high, f"search range from {self.low} to {self.high}: low is above high")  # type: ignore[operator]
        _require(not self.log or self.low > 0, f"search range from {self.low}: log = true needs low above 0")  # type: ignore[operator]

    def contains(self, value: Any) -> bool:
        """Whether the search could propose `value`."""
        if self.choices:
            return value in self.choices
        return self.low <= value <= self.high  # type: ignore[operator]


def _paper_space() -> dict[str, Domain]:
    return {
        "z_dim": Domain(10, 50),
        "hidden_dim": Domain(250, 1000),
        "lr": Domain(1e-5, 1e-3, log=True),
    }


@dataclass(frozen=True)
class SearchConfig:
    """What is proposed (TPE), what is stopped early (ASHA), and how long the search goes on."""

    trials: int = 50
    seed: int = 0
    startup_trials: int = 10  # proposed at random before TPE has something to learn from
    try_first: bool = False  # propose the configuration of [training] first
    grace: int = 10  # epochs before ASHA may stop a trial: its first rung
    reduction_factor: float = 3.0  # one in so many goes on at a rung; the next rung is so many times further
    brackets: int = 1  # bracket s has its first rung at grace * reduction_factor ** s
    finalists: int = 0  # so many of the best configurations are trained again in full; 0 takes the best trial
    seeds: int = 3  # seeds under which each finalist is trained again; the lowest mean wins
    max_failures: int = 2  # a trial that crashes is tried again from its checkpoint so many times
    max_hours: float = 0.0  # stop after so many hours; 0 is no limit
    checkpoint_every_s: float = 30.0  # seconds between two checkpoints of a trial; also at every rung and at the end

    def __post_init__(self) -> None:
        _require(self.trials >= 1, f"search.trials is {self.trials}; it must be at least 1")
        _require(self.seed >= 0, f"search.seed is {self.seed}; it must be 0 or above")
        _require(self.startup_trials >= 1, f"search.startup_trials is {self.startup_trials}; it must be at least 1")
        _require(self.grace >= 1, f"search.grace is {self.grace}; it must be at least 1 epoch")
        _require(self.reduction_factor > 1, f"search.reduction_factor is {self.reduction_factor}; it must be above 1")
        _require(self.brackets >= 1, f"search.brackets is {self.brackets}; it must be at least 1")
        _require(self.finalists >= 0, f"search.finalists is {self.finalists}; 0 is none, else above 0")
        _require(self.seeds >= 1, f"search.seeds is {self.seeds}; it must be at least 1")
        _require(self.max_failures >= 0, f"search.max_failures is {self.max_failures}; it must be 0 or above")
        _require(self.max_hours >= 0, f"search.max_hours is {self.max_hours}; 0 is no limit, else above 0")
        _require(self.checkpoint_every_s >= 0, "search.checkpoint_every_s must be 0 or above")


@dataclass(frozen=True)
class ResourcesConfig:
    """Where trials run. What is None is chosen from the machine, see search/resources.py."""

    cpus_per_trial: float | None = None  # cores, and threads of a trial
    gpus_per_trial: float | None = None  # whole or a fraction; 0 trains on the CPU
    concurrent: int | None = None  # trials at the same time
    address: str = ""  # of a running Ray cluster ("auto" finds the one of this machine); empty starts a local one

    def __post_init__(self) -> None:
        cpus, gpus, concurrent = self.cpus_per_trial, self.gpus_per_trial, self.concurrent
        _require(cpus is None or cpus > 0, f"resources.cpus_per_trial is {cpus}; it must be above 0")
        _require(gpus is None or gpus >= 0, f"resources.gpus_per_trial is {gpus}; it must be 0 or above")
        whole = gpus is None or gpus <= 1 or gpus == int(gpus)
        _require(whole, f"resources.gpus_per_trial is {gpus}; above 1 it must be a whole number")
        _require(concurrent is None or concurrent >= 1, f"resources.concurrent is {concurrent}; it must be at least 1")


@dataclass(frozen=True)
class DataConfig:
    """How a trial holds its rows."""

    mode: str = "auto"  # resident: decoded once, on the device; stream: from Parquet, bounded; auto: by the budget
    resident_budget_mb: float = 2048.0  # MiB of float32 a trial may hold in `auto`
    shuffle_buffer_mb: float = 96.0  # MiB of float32 that a stream shuffles within

    def __post_init__(self) -> None:
        _require(self.mode in DATA_MODES, f"data.mode is {self.mode!r}; expected auto, resident or stream")
        _require(self.resident_budget_mb >= 0, "data.resident_budget_mb must be 0 or above")
        _require(self.shuffle_buffer_mb > 0, "data.shuffle_buffer_mb must be above 0")


@dataclass(frozen=True)
class Config:
    """A whole search."""

    name: str = DEFAULT_SCENARIO
    space: Mapping[str, Domain] = field(default_factory=_paper_space)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        _require(bool(self.space), "[space] is empty: there is nothing to search")
        _require("epochs" not in self.space, "space.epochs cannot be searched: trials are compared at equal epochs")
        for name, domain in self.space.items():
            _require(
                bool(domain.choices) or get_type_hints(TrainingConfig).get(name) is not str,
                f"space.{name}: words are searched as choices = [...], not in a range",
            )
            for edge in domain.choices or (domain.low, domain.high):
                value: Any = typed_field(TrainingConfig, name, edge, "space")
                TrainingConfig(**{name: value})


def pinned(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with these fields of [training] fixed; the search varies the rest.

    Raises:
        UsageError: nothing is left to search.
    """
    left = {name: domain for name, domain in config.space.items() if name not in values}
    if not left:
        raise UsageError(f"with {', '.join(sorted(config.space))} given there is nothing left to search")
    return replace(config, space=left, training=replace(config.training, **values))


def field_type(kind: type, name: str) -> type:
    """The type of a field of a dataclass, without the None that it may also be."""
    hint = get_type_hints(kind)[name]
    if isinstance(hint, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def typed_field(kind: type, name: str, value: Any, where: str) -> Any:
    """`value` as the type of the field `name` of `kind`; a whole number is a fine float, a bool is no number.

    Raises:
        UsageError: no such field, or a value of another type.
    """
    known = get_type_hints(kind)
    if name not in known:
        raise UsageError(f"[{where}] has no key {name!r}; did you mean {nearest(name, known)!r}?")
    expected = field_type(kind, name)
    if value is None and expected is not known[name]:
        return None
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise UsageError(f"{where}.{name} is {value!r}; expected a value of type {expected.__name__}")
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that `name` was probably meant to be."""
    known = list(known)
    return (difflib.get_close_matches(name, known, n=1, cutoff=0.4) or known)[0]
