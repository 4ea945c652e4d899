"""What all verbs share: how one is added, and how long work is shown."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from resvae_ray.progress import Progress


def add_verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    """A parser for the verb `name`, which `run` carries out; `text` says what it does."""
    parser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(verb=run)
    return parser


def one_line(message: str) -> str:
    """A message as a terminal may have it: names out of files of others must not steer it."""
    line = " ".join(message.split())
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)


@contextmanager
def progress_bar(what: str, unit: str = "rows") -> Iterator[Progress]:
    """Shows rows (or `unit`), how many a second and the time left where a person looks, and nothing in a log file."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=f" {unit}", unit_scale=True, disable=None, file=sys.stderr) as bar:
        begun = False

        def show(rows: int, total: int | None) -> None:
            nonlocal begun
            if not begun:
                # What an earlier job has done is no work of this one, and says nothing about its speed.
                begun = True
                bar.reset(total)
                bar.initial = bar.n = bar.last_print_n = rows
            bar.total = total
            bar.update(rows - bar.n)

        yield show
