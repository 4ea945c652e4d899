"""The configuration of a search as a file: TOML in and out, JSON in run.json, the shipped scenarios by name.

config = load_config("esm2_650m_cls")            # a scenario of resvae_ray/scenarios, or the path of a TOML file
"""

import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any

from resvae_ray.config import (
    Config,
    DataConfig,
    Domain,
    ResourcesConfig,
    SearchConfig,
    TrainingConfig,
    field_of,
    nearest,
    typed_field,
)
from resvae_ray.config_field import about, in_full
from resvae_ray.errors import UsageError

SECTIONS: dict[str, type] = {
    "training": TrainingConfig,
    "search": SearchConfig,
    "resources": ResourcesConfig,
    "data": DataConfig,
}

COMMENT_WIDTH = 110  # characters
SPACE_COMMENT = (
    "Fields of [training] that the search varies: { low = …, high = … }, both included, with log = true for a "
    "logarithmic scale, or { choices = [ … ] }."
)


def load_config(name_or_path: str | Path) -> Config:
    """The configuration of a shipped scenario (by name) or of a TOML file (by path).

    Raises:
        UsageError: no such scenario or file, no valid TOML, an unknown key (the nearest valid one is named),
            a value of the wrong type or out of its range.
    """
    content, name = _read_toml(str(name_or_path))
    content.setdefault("name", name)
    try:
        config = config_from_dict(content)
        config.require_trainable()
        return config
    except UsageError as error:
        raise UsageError(f"{name_or_path}: {error}") from None


def scenario_heading(name_or_path: str) -> str:
    """The comment at the top of a shipped scenario, without `#`; empty for anything else."""
    if name_or_path not in scenario_names():
        return ""
    comments = takewhile(lambda line: line.startswith("#"), _shipped(name_or_path).splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in comments)


def scenario_names() -> list[str]:
    """The names of the shipped scenarios."""
    folder = resources.files("resvae_ray.scenarios")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _read_toml(name_or_path: str) -> tuple[dict[str, Any], str]:
    path = Path(name_or_path)
    if path.is_file():
        try:
            name = path.stem.encode("utf-8", "backslashreplace").decode()  # a file name may hold bytes of any encoding
            return tomllib.loads(path.read_text(encoding="utf-8")), name
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"{name_or_path}: not valid TOML: {error}") from None
    if name_or_path in scenario_names():
        return tomllib.loads(_shipped(name_or_path)), name_or_path
    raise UsageError(
        f"{name_or_path}: neither a TOML file nor a scenario; the scenarios are {', '.join(scenario_names())}"
    )


def _shipped(scenario: str) -> str:
    return resources.files("resvae_ray.scenarios").joinpath(f"{scenario}.toml").read_text(encoding="utf-8")


def config_from_dict(content: Mapping[str, Any]) -> Config:
    """A Config from nested tables as TOML or JSON give them.

    Raises:
        UsageError: an unknown key (the nearest valid one is named), a wrong type, or a value out of its range.
    """
    given: dict[str, Any] = {}
    for key, value in content.items():
        if key not in SECTIONS and key not in ("name", "space"):
            known = ["name", "space", *SECTIONS]
            raise UsageError(f"no section or key {key!r}; did you mean {nearest(key, known)!r}?")
        if key in SECTIONS:
            given[key] = _section(SECTIONS[key], value, key)
        elif key == "space":
            given[key] = {name: _domain(name, table) for name, table in _table(value, key).items()}
        elif not isinstance(value, str):
            raise UsageError(f"name is {value!r}; expected text")
        else:
            given[key] = value
    return Config(**given)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Nested tables, as JSON has them, that `config_from_dict` reads back; a search range keeps only what it sets."""
    content = asdict(config)
    content["space"] = {name: _domain_table(table) for name, table in content["space"].items()}
    return content


def _domain_table(table: dict[str, Any]) -> dict[str, Any]:
    if table["choices"]:
        return {"choices": list(table["choices"])}
    return {key: value for key, value in table.items() if value is not None and value is not False and value != ()}


def config_to_toml(config: Config, heading: str = "") -> str:
    """The configuration as TOML text that `load_config` reads back, each field with its meaning as a comment.

    Args:
        heading: comment lines at the top, without their `#`.
    """
    import tomlkit  # takes 20 ms to import, which only a writer needs to spend

    document = tomlkit.document()
    for line in heading.splitlines():
        document.add(tomlkit.comment(line))
    document.add("name", tomlkit.string(config.name))
    for section, values in config_to_dict(config).items():
        if section == "name":
            continue
        table = tomlkit.table()
        for comment, key, value in _toml_lines(config, section, values):
            for line in textwrap.wrap(comment, COMMENT_WIDTH):
                table.add(tomlkit.comment(line))
            if key and value is None:
                table.add(tomlkit.comment(f"{key} ="))
            elif key:
                table.add(key, tomlkit.inline_table() | value if isinstance(value, dict) else value)
        document.add(tomlkit.nl())
        document.add(section, table)
    return document.as_string()


def _toml_lines(config: Config, section: str, values: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """A comment, and the key and value below it; no key where the comment is about the section."""
    if section == "space":
        yield SPACE_COMMENT, "", None
        for name, domain in values.items():
            yield about(field_of(TrainingConfig, name)).meaning, name, domain
        return
    for it in fields(SECTIONS[section]):
        searched = ". Searched: see [space]" if section == "training" and it.name in config.space else ""
        yield in_full(it) + searched, it.name, values[it.name]


def _section(kind: type, value: Any, where: str) -> Any:
    table = _table(value, where)
    return kind(**{key: typed_field(kind, key, item, where) for key, item in table.items()})


def _domain(name: str, value: Any) -> Domain:
    """A range or choices for the field `name`, with values of the field's type."""
    where, table = f"space.{name}", _table(value, f"space.{name}")
    given: dict[str, Any] = {}
    for key, item in table.items():
        if key in ("low", "high"):
            given[key] = typed_field(TrainingConfig, name, item, "space")
            if isinstance(given[key], str):
                raise UsageError(f"{where}: words are searched as choices = [...], not in a range")
        elif key == "choices" and isinstance(item, list):
            given[key] = tuple(typed_field(TrainingConfig, name, choice, "space") for choice in item)
        elif key == "choices":
            raise UsageError(f"{where}.choices is {item!r}; expected a list")
        else:
            given[key] = typed_field(Domain, key, item, where)
    return Domain(**given)


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is {value!r}; expected a table")
    return value
