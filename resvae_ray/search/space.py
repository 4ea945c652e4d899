"""The search space: its proposals, as training configurations and in words."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from resvae_ray.config import Config, TrainingConfig
from resvae_ray.errors import UsageError


def training_config(config: Config, params: Mapping[str, Any]) -> TrainingConfig:
    """The configuration of the trial with the proposal `params`."""
    return replace(config.training, **params)


def first_proposal(config: Config) -> dict[str, Any]:
    """The proposal of `try_first`: the values of the searched fields in [training].

    Raises:
        UsageError: one of them lies outside its range.
    """
    values = {name: getattr(config.training, name) for name in config.space}
    for name, value in values.items():
        if not config.space[name].contains(value):
            raise UsageError(f"try_first: training.{name} is {value}, outside its range in [space]; change one of them")
    return values


def combinations(config: Config) -> list[dict[str, Any]]:
    """All proposals of a space of choices, if the search has enough trials for them; otherwise none."""
    domains = config.space.values()
    if not all(domain.choices for domain in domains):
        return []
    if math.prod(len(domain.choices) for domain in domains) > config.search.most_trials:
        return []
    return [dict(zip(config.space, values, strict=True)) for values in product(*(d.choices for d in domains))]


def describe(params: Mapping[str, Any]) -> str:
    """A proposal in few characters: z_dim=18 hidden_dim=859 lr=4.69e-04."""
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
    )
