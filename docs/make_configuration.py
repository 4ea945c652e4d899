"""Writes docs/configuration.md from the fields of the configuration: python docs/make_configuration.py"""

from dataclasses import fields
from pathlib import Path

from resvae_ray.config_field import about, default_text
from resvae_ray.config_file import SECTIONS

TARGET = Path(__file__).with_name("configuration.md")
HEAD = """\
# Configuration

`resvae-ray config [SCENARIO]` prints all of this as commented TOML; `tune --config FILE` reads it. Made by
`docs/make_configuration.py`; change the fields in `resvae_ray/config.py` instead.

`[space]` holds the fields of `[training]` that the search varies: `{ low = 10, high = 50 }`, both included, with
`log = true` for a logarithmic scale, or `{ choices = [32, 64] }`. `epochs` cannot be searched.
"""


def configuration() -> str:
    """The page as Markdown: a table per section."""
    return "\n".join([HEAD, *(_table(section, kind) for section, kind in SECTIONS.items())])


def _table(section: str, kind: type) -> str:
    rows = [
        f"| `{it.name}` | {about(it).meaning} | {about(it).unit} | {about(it).range} | {default_text(it)} |"
        for it in fields(kind)
    ]
    lines = (f"## [{section}]\n", "| field | meaning | unit | range | default |", "|---|---|---|---|---|", *rows)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(configuration(), encoding="utf-8")
