"""The search space as Optuna has it, and a proposal as a training configuration."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from resvae_ray.config import Config, Domain, TrainingConfig, field_type
from resvae_ray.errors import UsageError


def distributions(config: Config) -> dict[str, BaseDistribution]:
    """The space as Optuna's distributions; a field that is whole in TrainingConfig is proposed whole."""
    return {name: _distribution(name, domain) for name, domain in config.space.items()}


def training_config(config: Config, params: Mapping[str, Any]) -> TrainingConfig:
    """The configuration of the trial with the proposal `params`."""
    return replace(config.training, **params)


def first_proposal(config: Config) -> dict[str, Any]:
    """What `try_first` proposes: the values that [training] has for the searched fields.

    Raises:
        UsageError: one of them lies outside its range.
    """
    values = {name: getattr(config.training, name) for name in config.space}
    for name, value in values.items():
        if not config.space[name].contains(value):
            raise UsageError(f"try_first: training.{name} is {value}, outside its range in [space]; change one of them")
    return values


def combinations(config: Config) -> list[dict[str, Any]]:
    """All proposals that a space of choices has, if the search has trials for them; else none."""
    domains = config.space.values()
    if not all(domain.choices for domain in domains):
        return []
    if math.prod(len(domain.choices) for domain in domains) > config.search.trials:
        return []
    return [dict(zip(config.space, values, strict=True)) for values in product(*(d.choices for d in domains))]


def describe(params: Mapping[str, Any]) -> str:
    """A proposal in few characters: z_dim=18 hidden_dim=859 lr=4.69e-04."""
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
    )


def _distribution(name: str, domain: Domain) -> BaseDistribution:
    if domain.choices:
        return CategoricalDistribution(list(domain.choices))
    low, high = domain.low, domain.high
    if low is None or high is None:
        raise UsageError(f"space.{name}: needs low and high, or choices")
    if field_type(TrainingConfig, name) is int:
        return IntDistribution(int(low), int(high), log=domain.log)
    return FloatDistribution(low, high, log=domain.log)
