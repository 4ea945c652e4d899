"""Pages of the documentation that are generated when mkdocs builds the site: the reference and the notebooks.

mkdocs loads this file as a hook (see mkdocs.yml). Nothing in docs/reference is written by hand.
"""

import argparse
import ast
import dataclasses
import html
import re
from pathlib import Path
from typing import Any

import resvae_ray
from resvae_ray import cli, errors, names
from resvae_ray.config_field import about, default_text
from resvae_ray.config_file import SECTIONS

ROOT = Path(__file__).parents[1]


def on_files(files: Any, config: Any) -> Any:
    """Hook of mkdocs: adds the generated pages, and the notebooks as Markdown with their outputs."""
    from mkdocs.structure.files import File

    generated = {
        "reference/verbs.md": verbs_page(),
        "reference/configuration.md": configuration_page(),
        "reference/files.md": files_page(),
        "reference/exit_codes.md": exit_codes_page(),
        "reference/python.md": python_page(),
    }
    for uri, text in generated.items():
        files.append(File.generated(config, uri, content=text))
    for notebook in sorted((ROOT / "docs" / "tutorial").glob("*.ipynb")):
        uri = f"tutorial/{notebook.name}"
        if (old := files.get_file_from_path(uri)) is not None:
            files.remove(old)
        text, images = notebook_page(notebook)
        page = File.generated(config, uri.replace(".ipynb", ".md"), content=text)
        files.append(page)
        for name, content in images.items():
            files.append(File.generated(config, f"tutorial/{name}", content=content))
    return files


def on_config(config: Any) -> Any:
    """Hook of mkdocs: the navigation names the notebooks; their pages are Markdown."""
    config.nav = _renamed(config.nav)
    return config


def _renamed(part: Any) -> Any:
    if isinstance(part, list):
        return [_renamed(entry) for entry in part]
    if isinstance(part, dict):
        return {title: _renamed(entry) for title, entry in part.items()}
    return part.replace(".ipynb", ".md")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Hook of mkdocs: links to notebooks lead to their pages."""
    return re.sub(r"\]\(([\w/.]+)\.ipynb\)", r"](\1.md)", markdown)


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its images by file name."""
    from nbconvert import MarkdownExporter

    text, resources = MarkdownExporter().from_filename(str(path))
    images = {f"{path.stem}_{name}": content for name, content in resources["outputs"].items()}
    for name in resources["outputs"]:
        text = text.replace(f"({name})", f"({path.stem}_{name})")
    return text, images


def verbs_page() -> str:
    """Every verb with its usage and options, from the parser."""
    parts = [
        "# Verbs\n\nEvery verb of `resvae-ray`, generated from its parser. `resvae-ray VERB --help` prints the same.\n"
    ]
    (verbs,) = (action for action in cli.build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name, parser in verbs.choices.items():
        sentence, _, example = (parser.description or "").partition("\n\nexample:\n")
        commands = f"{parser.format_usage().strip()}\nexample: {example.strip()}"
        parts.append(f"## {name}\n\n{sentence}\n\n```\n{commands}\n```\n")
        for group in parser._action_groups:
            rows = [_option_row(action) for action in group._group_actions if action.help != argparse.SUPPRESS]
            if rows:
                title = (group.title or "").removeprefix("positional ").capitalize()
                title = f"**{title}**" + (f"\n\n{group.description}" if group.description else "")
                parts.append(f"{title}\n\n| | Meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
        if parser.epilog:
            parts.append(f"```\n{parser.epilog.strip()}\n```\n")
    return "\n".join(parts)


def _option_row(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    flags = ", ".join(action.option_strings)
    left = f"{flags} {value}".strip() if flags else str(value)
    return f"| {_code(left)} | {_cell(action.help or '')} |"


def _code(text: str) -> str:
    """As code in a cell, where Markdown knows no escape for the bar."""
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _cell(text: str) -> str:
    return " ".join(text.replace("%%", "%").split()).replace("|", "\\|")


def configuration_page() -> str:
    """Every field of every section, from the dataclasses."""
    parts = [
        "# Configuration\n\nEvery field of a search's TOML file, generated from `resvae_ray/config.py`. "
        "`resvae-ray config` prints all of them as commented TOML.\n"
    ]
    for section, kind in SECTIONS.items():
        about_it = (kind.__doc__ or "").partition("\n\n")[0]
        table = "| Field | Meaning | Unit | Range | Default |\n|---|---|---|---|---|"
        parts.append(f"## [{section}]\n\n{about_it}\n\n{table}")
        parts += [_field_row(field) for field in dataclasses.fields(kind)]
    return "\n".join(parts) + "\n"


def _field_row(field: dataclasses.Field) -> str:
    facts = about(field)
    cells = (f"`{field.name}`", _cell(facts.meaning), facts.unit, _cell(facts.range), _cell(default_text(field)))
    return f"| {' | '.join(cells)} |"


def files_page() -> str:
    """Every file, column and metric, from names.py: the constants with their comments, by section."""
    parts = ["# Files, columns and metrics\n\nGenerated from `resvae_ray/names.py`.\n"]
    open_table = False
    for line in Path(names.__file__).read_text().splitlines():
        if section := re.match(r"# --- (.*?) -+$", line):
            title = section[1].rstrip(" -")
            parts.append(f"\n## {title[0].upper()}{title[1:]}\n\n| Name | Meaning |\n|---|---|")
            open_table = True
        elif open_table and (entry := re.match(r"[A-Z_0-9]+ = (.+?)(?:  # (.*))?$", line)):
            value = ast.literal_eval(entry[1])
            shown = value.decode() if isinstance(value, bytes) else value
            parts.append(f"| `{shown}` | {_cell(entry[2] or '')} |")
    return "\n".join(parts) + "\n"


def exit_codes_page() -> str:
    """The exit codes, from the errors that carry them."""
    rows = {0: "done; also a search that `--max-hours` ended"}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.ResVAERayError) and kind is not errors.ResVAERayError:
            rows.setdefault(kind.exit_code, " ".join((kind.__doc__ or "").split()))
    table = "\n".join(f"| {code} | {_cell(text)} |" for code, text in sorted(rows.items()))
    return (
        "# Exit codes\n\nEvery error is one line on stderr: what was found, where, and what would be right.\n\n"
        f"| Code | Meaning |\n|---|---|\n{table}\n"
    )


def python_page() -> str:
    """The public names of the package, with their docstrings."""
    parts = [
        "# Python API\n\n`import resvae_ray as rr` loads neither torch nor Ray; each name is loaded when it is used.\n"
    ]
    for name in sorted(resvae_ray.__all__, key=str.lower):
        if not name.startswith("__"):
            target = getattr(resvae_ray, name)
            parts.append(
                f"## rr.{name}\n\n::: {target.__module__}.{name}\n    options:\n      show_root_heading: false\n"
            )
    return "\n".join(parts)
