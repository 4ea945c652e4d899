"""Runs work in pieces as a Ray Data job: one task per piece, which returns its row count or its error."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from resvae_ray import errors
from resvae_ray.errors import JobError, ResVAERayError, first_line, in_words

Share = dict[str, Any]  # of a node, for a task, as Ray takes it
POSITION = "_position"  # beside the fields of a piece


@dataclass(frozen=True)
class Outcome:
    """Result of a piece of work.

    Attributes:
        position: index of the piece, from 0.
        rows: number of rows done.
        error: the reason of a failure.
        content: what the task returned besides, if anything.
    """

    position: int
    rows: int
    error: ResVAERayError | None
    content: bytes = b""


def gpu_share(gpus: float) -> Share:
    """The share of a task that needs `gpus` GPUs.

    Ray ends a process after each task that has a GPU, to free its memory; ours keeps the model for the next one.
    """
    return {"num_gpus": gpus, "max_calls": 0}


def run_tasks(
    task: Callable[..., int], pieces: Sequence[Any], share: Share, at_once: int | None = None, **arguments: Any
) -> Iterator[int]:
    """As `try_tasks`, and yields the rows that a task did.

    Raises:
        ResVAERayError: a task raised it; anything else that it raised is a JobError.
        JobError: Ray gave up.
    """
    for outcome in try_tasks(task, pieces, share, at_once, **arguments):
        if outcome.error:
            raise outcome.error
        yield outcome.rows


def try_tasks(
    task: Callable[..., int | tuple[int, bytes]],
    pieces: Sequence[Any],
    share: Share,
    at_once: int | None = None,
    **arguments: Any,
) -> Iterator[Outcome]:
    """Runs `task(piece, **arguments)` for each piece; yields each outcome once known.

    Args:
        task: returns its row count, perhaps with some bytes, which pass through Ray's object store.
        pieces: dataclasses of one kind, made of plain data.
        at_once: maximum number of concurrent tasks; None for as many as fit.

    Raises:
        JobError: Ray gave up.
    """
    if not pieces:
        return
    import ray.data
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    items = [{POSITION: position, **asdict(piece)} for position, piece in enumerate(pieces)]
    done = ray.data.from_items(items, override_num_blocks=len(pieces)).map_batches(
        answer,  # pyright: ignore[reportArgumentType]
        fn_kwargs={"task": task, "kind": type(pieces[0]), "arguments": arguments},
        batch_size=1,
        compute=ray.data.TaskPoolStrategy(size=at_once),
        **share,
    )
    try:
        for row in done.iter_rows():
            error = getattr(errors, row["kind"])(row["error"]) if row["error"] else None
            yield Outcome(row[POSITION], row["rows"], error, row["content"])
    except RayError as error:
        raise JobError(
            f"Ray gave up: {first_line(error)}; rerun the same command to process the remaining rows"
        ) from error


def answer(
    batch: Mapping[str, np.ndarray], task: Callable[..., int | tuple[int, bytes]], kind: type, arguments: dict[str, Any]
) -> dict[str, list]:
    """Runs the task on the one piece in `batch`; returns an error as text, since Ray would lose its type."""
    fields = {name: _plain(values[0]) for name, values in batch.items()}
    position = fields.pop(POSITION)
    try:
        done = task(kind(**fields), **arguments)
    except Exception as caught:
        told, text = in_words(caught)
        return {POSITION: [position], "rows": [0], "content": [b""], "kind": [told], "error": [text]}
    rows, content = done if isinstance(done, tuple) else (done, b"")
    return {POSITION: [position], "rows": [rows], "content": [content], "kind": [""], "error": [""]}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
