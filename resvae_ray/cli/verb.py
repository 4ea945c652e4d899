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


@contextmanager
def progress_bar(what: str, unit: str = " rows") -> Iterator[Progress]:
    """Shows rows, rows a second and the time left where a person looks, and nothing in a log file."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, unit_scale=True, disable=None, file=sys.stderr) as bar:

        def show(rows: int, total: int | None) -> None:
            bar.total = total
            bar.update(rows - bar.n)

        yield show
