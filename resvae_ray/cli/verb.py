"""Shared by all verbs: adding a parser, and progress bars."""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from resvae_ray.progress import Progress
from resvae_ray.wording import count, printable


class VerbHelp(argparse.RawDescriptionHelpFormatter):
    """Help that keeps the lines of descriptions and examples, up to 100 characters wide."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(100, shutil.get_terminal_size().columns - 2))


def add_verb(
    verbs: Any,
    name: str,
    run: Callable[[argparse.Namespace], None],
    text: str,
    *,
    arguments: Mapping[str, str],
    example: str,
) -> argparse.ArgumentParser:
    """Adds a parser for the verb `name`, which `run` carries out.

    Args:
        text: one sentence in lower case without a period, about the result.
        arguments: positional arguments with their help; one in brackets may be left out.
        example: a command line, without the program's name.
    """
    parser = verbs.add_parser(
        name,
        help=text,
        usage=" ".join(["%(prog)s [options]", *arguments]),
        description=f"{text[0].upper()}{text[1:]}.\n\nexample:\n  resvae-ray {name} {example}",
        formatter_class=VerbHelp,
    )
    for metavar, meaning in arguments.items():
        bare = metavar.strip("[]")
        parser.add_argument(bare.lower(), metavar=bare, nargs="?" if bare != metavar else None, help=meaning)
    parser.set_defaults(verb=run)
    return parser


def add_json(parser: argparse.ArgumentParser, text: str = "print JSON, for programs") -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help=text)


def add_address(parser: Any) -> None:
    """Adds `--address`."""
    meaning = "address of a running Ray cluster; auto finds the one on this machine (default: start a local Ray)"
    parser.add_argument("--address", default="", metavar="TEXT", help=meaning)


def say_job(does: str, number: int, noun: str) -> None:
    """Says that Ray does the work, above the progress bar where there is one."""
    from tqdm import tqdm

    tqdm.write(f"a Ray job {does} {count(number, noun)}", file=sys.stderr)


def one_line(message: str) -> str:
    """A message as a terminal may have it: names out of files of others must not steer it."""
    return printable(" ".join(message.split()))


@contextmanager
def progress_bar(what: str, unit: str = "rows") -> Iterator[Progress]:
    """Shows rows (or `unit`), how many a second and the time left where a person looks, and nothing in a log file."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=f" {unit}", unit_scale=True, disable=None, file=sys.stderr) as bar:
        begun = False

        def show(rows: int, total: int | None) -> None:
            nonlocal begun
            if not begun:
                # Rows done by an earlier job do not count towards the speed of this one.
                begun = True
                bar.reset(total)
                bar.initial = bar.n = bar.last_print_n = rows
            bar.total = total
            bar.update(rows - bar.n)

        yield show
