"""The configuration of a new search, and of a resumed one."""

from dataclasses import fields, replace
from pathlib import Path

from resvae_ray.config import AUTO, FLOAT32, Config, Domain
from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset, choose_mode
from resvae_ray.errors import DataError, UsageError
from resvae_ray.search.run.run import Run
from resvae_ray.search.space import first_proposal

# of [search]; of [resources] all may
MAY_CHANGE = ("trials", "finalists", "seeds", "max_hours", "max_failures", "checkpoint_every_s")


def first_config(dataset: Dataset, config: Config | str | Path | None) -> Config:
    """The configuration of a new search, with the fields that depend on the data.

    Raises:
        UsageError: the configuration does not exist, or its first proposal lies outside the space.
    """
    given = config if isinstance(config, Config) else Config() if config is None else load_config(config)
    if given.search.try_first:
        first_proposal(given)
    given = replace(given, data=replace(given.data, mode=choose_mode(dataset, given.data)))
    return _with_matmul(given)


def _with_matmul(config: Config) -> Config:
    """The configuration with the format of this machine for "auto". If it rounds, the winner is retrained."""
    if config.training.matmul != AUTO:
        return config
    from resvae_ray.model.products import resolved  # torch, which takes a second that other searches need not wait

    training, search = replace(config.training, matmul=resolved(config.training.matmul)), config.search
    if training.matmul != FLOAT32 and not search.finalists:
        search = replace(search, finalists=1, seeds=1)
    return replace(config, training=training, search=search)


def resumed_config(run: Run, dataset: Dataset, config: Config | str | Path | None) -> Config:
    """The configuration of a resumed search: the recorded one, or `config` if it changes only the allowed fields.

    Raises:
        UsageError: `config` changes a field that must stay the same.
        DataError: the DATASET is not the one that the search began with.
    """
    if (fingerprint := run.info["dataset"]["fingerprint"]) != dataset.fingerprint:
        raise DataError(
            f"{dataset.path}: its content (fingerprint {dataset.fingerprint}) is not what {run.where} was started with "
            f"({fingerprint})"
        )
    if config is None:
        return run.config
    given = first_config(dataset, config)
    changes = {name: getattr(given.search, name) for name in MAY_CHANGE}
    allowed = replace(run.config, search=replace(run.config.search, **changes), resources=given.resources)
    if allowed != given:
        raise UsageError(f"{run.where}: was started with {_difference(allowed, given)}; a change needs a new run")
    return given


def _searched(domain: Domain | None) -> str:
    if domain is None:
        return "fixed"
    if domain.choices:
        return f"searched among {', '.join(map(str, domain.choices))}"
    return f"searched from {domain.low:g} to {domain.high:g}"


def _difference(recorded: Config, given: Config) -> str:
    """The first field in which two configurations differ."""
    for section in fields(Config):
        old, new = getattr(recorded, section.name), getattr(given, section.name)
        if section.name == "name" and old != new:
            return f"name = {old}, not {new}"
        for name in sorted({*old, *new}) if section.name == "space" else []:
            if old.get(name) != new.get(name):
                return f"{name} {_searched(old.get(name))}, not {_searched(new.get(name))}"
        for name in [] if section.name in ("name", "space") else [f.name for f in fields(old)]:
            if getattr(old, name) != getattr(new, name):
                return f"{section.name}.{name} = {getattr(old, name)}, not {getattr(new, name)}"
    return "another configuration"
