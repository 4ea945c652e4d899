"""The configuration of a search: frozen dataclasses, read from TOML or a shipped scenario, written as TOML and JSON.

config = load_config("esm2_650m_cls")            # a scenario of resvae_ray/scenarios, or the path of a TOML file
config = replace(config, search=replace(config.search, trials=80))
"""

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, cast, get_args, get_type_hints

from resvae_ray.config_field import check_fields, setting
from resvae_ray.errors import UsageError

DEFAULT_SCENARIO = "esm2_650m_cls"
LOSS_TYPES = ("MSE", "RMSE")
REDUCTIONS = ("sum", "mean")
OUTPUT_BIASES = ("random", "mean")
SCHEDULES = ("constant", "cosine", "one_cycle", "wsd")
LINEAR_PATHS = ("none", "pca")
DATA_MODES = ("auto", "resident", "stream")
AUTO = "auto"
STOP, PROMOTE = "stop", "promote"  # what ASHA does with trials at a rung
FLOAT32, BFLOAT16 = "float32", "bfloat16"
AUTO_R2 = 0.95  # explained variance at whose residual error a metric with beta = "auto" is calibrated
MOST_AUTO_TRIALS = 50  # of a search that ends by itself; see search/enough_trials.py
FROM_MACHINE = "chosen from the machine"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True)
class Metric:
    """The loss by which models are compared. It stays the same when a search varies what trials are trained with."""

    beta: float
    loss_type: str
    reduction: str


PAPER_BATCH = 32  # rows; the scale of val_loss, whatever the batch size in training
PAPER_METRIC = Metric(1000.0, "MSE", "sum")


@dataclass(frozen=True)
class TrainingConfig:
    """One Res-VAE and how it is trained. The defaults are the paper's best model for ESM-2 650M `cls`.

    A new field is one line with `setting`: check, `--help`, search.toml and the reference of the docs follow from it.
    """

    z_dim: int = setting(18, "number of latents", at_least=1)
    hidden_dim: int = setting(
        859,
        "units of the first encoder layer and the last decoder layer",
        at_least=4,
        why="the network divides it by 4",
    )
    lr: float = setting(4.69e-4, "learning rate of Adam", above=0)
    epochs: int = setting(80, "passes over the training rows per trial, unless ASHA stops it", at_least=1)
    batch_size: int = setting(32, "rows per gradient step", at_least=2, why="batch norm needs at least 2 rows")
    beta: float | str = setting(
        1000.0, "weight of the reconstruction error against the KLD; auto follows the error", above=0, words=(AUTO,)
    )
    loss_type: str = setting("MSE", "measure of the reconstruction error", choices=LOSS_TYPES)
    reduction: str = setting("sum", "reduction of the loss over the rows and features of a batch", choices=REDUCTIONS)
    dropout: float = setting(0.3, "dropout probability", at_least=0, below=1)
    output_bias: str = setting(
        "random", "initial bias of the last layer: near 0, or the mean of the training rows", choices=OUTPUT_BIASES
    )
    gradient_clip: float = setting(0.0, "maximum norm of the gradient; 0 disables clipping", at_least=0)
    schedule: str = setting(
        "constant", "learning-rate schedule; wsd falls in the last fifth of the epochs", choices=SCHEDULES
    )
    warmup: float = setting(
        0.0, "fraction of the epochs in which the learning rate rises to lr", at_least=0, below=1, rare=True
    )
    # Per unit of lr, as in AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).
    weight_decay: float = setting(0.0, "decoupled weight decay, as in AdamW; 0 disables it", at_least=0, rare=True)
    kld_warmup: float = setting(
        0.0, "fraction of the epochs in which the weight of the KLD rises from 0 to 1", at_least=0, at_most=1, rare=True
    )
    average: float = setting(
        0.0,
        "decay per step of a moving average of the weights, which is validated and kept; 0 disables it",
        at_least=0,
        below=1,
        rare=True,
    )
    linear: str = setting(
        "none", "linear path beside the network; pca begins as PCA of the training rows", choices=LINEAR_PATHS
    )
    nested: float = setting(
        0.0,
        "fraction of a batch's rows that keep only their first latents, so that every prefix is a code; 0 disables it",
        at_least=0,
        at_most=1,
    )
    prefixes: int = setting(
        0,
        "with nested above 0: every row is also decoded from this number of its prefixes, with that weight in "
        "all, and the decoder receives their lengths; 0 draws rows instead",
        at_least=0,
    )
    matmul: str = setting(
        FLOAT32,
        "format of the matrix products of a training step; bfloat16 (on a GPU, TF32) is faster where the machine has "
        "it; auto uses it there and retrains the winner in float32",
        choices=(AUTO, FLOAT32, BFLOAT16),
        rare=True,
    )
    patience: int = setting(
        0, "a training ends after this many epochs without a lower loss; 0 disables it", unit="epochs", at_least=0
    )

    def __post_init__(self) -> None:
        check_fields("training", self)
        _require(
            self.beta != AUTO or (self.loss_type, self.reduction) == ("MSE", "sum"),
            f"training.beta = {AUTO!r} needs loss_type MSE and reduction sum, not {self.loss_type} and "
            f"{self.reduction}; change them or set beta to a number",
        )
        _require(
            self.schedule != "wsd" or self.warmup <= 0.8,
            f"training.warmup is {self.warmup}; schedule wsd falls over the last 20 %, so it must be at most 0.8",
        )

    @property
    def metric(self) -> Metric:
        """The loss that this configuration trains with, as a measure of models.

        Raises:
            UsageError: beta is "auto"; see `metric_for` in model/principal.py, which knows the training rows.
        """
        if isinstance(self.beta, str):
            raise UsageError(f"training.beta = {AUTO!r} has no metric without the training rows; set beta to a number")
        return Metric(self.beta, self.loss_type, self.reduction)

    def has_ended(self, epoch: int, best_epoch: int) -> bool:
        """Whether a training ends with this epoch.

        Args:
            epoch: the last epoch, from 1; 0 before the first.
            best_epoch: the epoch of the lowest validation loss so far.
        """
        return epoch >= self.epochs or 0 < self.patience <= epoch - best_epoch


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
    """The trials that TPE proposes, when ASHA stops them, and when the search ends."""

    trials: int | str = setting(
        50,
        f"trials in total; auto ends the search when more do not pay, after at most {MOST_AUTO_TRIALS}",
        at_least=1,
        words=(AUTO,),
    )
    seed: int = setting(0, "seed of the search: proposals, initial weights, order of the rows", at_least=0)
    startup_trials: int = setting(10, "random trials before TPE begins to propose", at_least=1, rare=True)
    try_first: bool = setting(False, "try the values of [training] as the first trial; they must lie in [space]")
    scheduler: str = setting(
        STOP,
        "ASHA at a rung: stop ends the trials that are not among the best; promote pauses every trial and continues "
        "the best, also later",
        choices=(STOP, PROMOTE),
    )
    grace: int = setting(10, "epochs before ASHA may stop a trial: its first rung", at_least=1, rare=True)
    reduction_factor: float = setting(
        3.0, "ASHA keeps the best 1/X of the trials at a rung; the next rung is X times further", above=1, rare=True
    )
    brackets: int = setting(
        1, "brackets of ASHA; the first rung of bracket s is at grace * reduction_factor ** s", at_least=1, rare=True
    )
    finalists: int = setting(0, "best configurations to train again in full; 0 keeps the best trial", at_least=0)
    seeds: int = setting(3, "seeds to train each finalist with; the lowest mean loss wins", at_least=1)
    max_failures: int = setting(2, "retries of a trial that crashes, each from its checkpoint", at_least=0, rare=True)
    max_hours: float = setting(0.0, "time after which the search stops; 0 sets no limit", unit="hours", at_least=0)
    checkpoint_every_s: float = setting(
        30.0,
        "time between checkpoints of a trial, which also has one at each rung and at its end",
        unit="seconds",
        at_least=0,
        rare=True,
    )

    def __post_init__(self) -> None:
        check_fields("search", self)
        _require(
            self.scheduler != PROMOTE or self.brackets == 1,
            f"search.brackets is {self.brackets}; scheduler promote has one bracket: set brackets to 1, or scheduler "
            "to stop",
        )

    @property
    def most_trials(self) -> int:
        """The number of trials, or the most of a search that ends by itself."""
        return MOST_AUTO_TRIALS if isinstance(self.trials, str) else self.trials


@dataclass(frozen=True)
class ResourcesConfig:
    """The processors that trials run on. A field that is None is chosen from the machine, see search/resources.py."""

    cpus_per_trial: float | None = setting(
        None, "cores per trial, which are also its threads", above=0, unset=FROM_MACHINE
    )
    gpus_per_trial: float | None = setting(
        None,
        "GPUs per trial: a fraction up to 1, or a whole number; 0 trains on the CPU",
        at_least=0,
        unset=FROM_MACHINE,
    )
    concurrent: int | None = setting(None, "trials that run at the same time", at_least=1, unset=FROM_MACHINE)
    address: str = setting(
        "", "address of a running Ray cluster; auto finds the one on this machine", unset="start a local Ray"
    )

    def __post_init__(self) -> None:
        check_fields("resources", self)
        gpus = self.gpus_per_trial
        whole = gpus is None or gpus <= 1 or gpus == int(gpus)
        _require(whole, f"resources.gpus_per_trial is {gpus}; above 1 it must be a whole number")


@dataclass(frozen=True)
class DataConfig:
    """Storage of a trial's rows: on the device or streamed."""

    mode: str = setting(
        "auto",
        "resident decodes the rows once and keeps them on the device; stream reads them in bounded memory; auto is "
        "resident if they fit resident_budget_mb",
        choices=DATA_MODES,
    )
    resident_budget_mb: float = setting(2048.0, "float32 rows that auto keeps per trial", unit="MiB", at_least=0)
    shuffle_buffer_mb: float = setting(96.0, "float32 rows that a stream shuffles among", unit="MiB", above=0)

    def __post_init__(self) -> None:
        check_fields("data", self)


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
        _require("patience" not in self.space, "space.patience cannot be searched: it says when a trial has ended")
        _require(
            self.training.beta != AUTO or not {"loss_type", "reduction"} & set(self.space),
            f"training.beta = {AUTO!r} needs loss_type MSE and reduction sum; leave both out of [space]",
        )
        for name, domain in self.space.items():
            _require(
                bool(domain.choices) or get_type_hints(TrainingConfig).get(name) is not str,
                f"space.{name}: words are searched as choices = [...], not in a range",
            )
            # Tables and TensorBoard have one type per column.
            _require(
                len({isinstance(choice, str) for choice in domain.choices}) < 2,
                f"space.{name}: choices are either numbers or words, not both; search the numbers, or fix {name} in "
                "[training]",
            )
            for edge in domain.choices or (domain.low, domain.high):
                value: Any = typed_field(TrainingConfig, name, edge, "space")
                TrainingConfig(**cast(dict[str, Any], {name: value}))

    def require_trainable(self) -> None:
        """
        Raises:
            UsageError: the fields of [training] that are not searched do not allow a value in [space]. RUNs of version
                0.1.0 may have such values; the trials that proposed them failed.
        """
        fixed = {name: value for name, value in vars(self.training).items() if name not in self.space}
        for name, domain in self.space.items():
            for edge in domain.choices or (domain.low, domain.high):
                TrainingConfig(**cast(dict[str, Any], fixed | {name: edge}))


def pinned(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with these fields of [training] fixed; the search varies the rest.

    Raises:
        UsageError: nothing is left to search.
    """
    left = {name: domain for name, domain in config.space.items() if name not in values}
    if not left:
        raise UsageError(f"with {', '.join(sorted(config.space))} given there is nothing left to search")
    return replace(config, space=left, training=replace(config.training, **values))


def field_of(kind: type, name: str) -> Field[Any]:
    """The field `name` of a dataclass."""
    return next(it for it in fields(kind) if it.name == name)


def field_type(kind: type, name: str) -> type:
    """The type of a field of a dataclass; of a union, such as `float | None` or `float | str`, the first."""
    hint = get_type_hints(kind)[name]
    if isinstance(hint, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def typed_field(kind: type, name: str, value: Any, where: str) -> Any:
    """`value` as the type of the field `name` of `kind`; an int is accepted as a float, a bool is not.

    Raises:
        UsageError: no such field, or a value of another type.
    """
    known = get_type_hints(kind)
    if name not in known:
        raise UsageError(f"[{where}] has no key {name!r}; did you mean {nearest(name, known)!r}?")
    expected = field_type(kind, name)
    if value is None and type(None) in get_args(known[name]):
        return None
    if isinstance(value, str) and str in get_args(known[name]):
        return value
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise UsageError(f"{where}.{name} is {value!r}; expected a value of type {expected.__name__}")
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that `name` was probably meant to be."""
    known = list(known)
    return (difflib.get_close_matches(name, known, n=1, cutoff=0.4) or known)[0]
