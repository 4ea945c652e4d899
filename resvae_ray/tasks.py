"""Work cut into pieces, as a Ray Data job: a task a piece, which answers how much it did or why it could not."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from resvae_ray import errors
from resvae_ray.errors import JobError, first_line, in_words

Share = dict[str, Any]  # of a node, for a task, as Ray takes it


def gpu_share(gpus: float) -> Share:
    """For a task with so many GPUs.

    Ray ends a process after each task that has a GPU, to free its memory; ours keeps the model for the next one.
    """
    return {"num_gpus": gpus, "max_calls": 0}


def run_tasks(
    task: Callable[..., int], pieces: Sequence[Any], share: Share, at_once: int | None = None, **arguments: Any
) -> Iterator[int]:
    """Runs `task(piece, **arguments)` for each piece and yields what it returns, the rows it did, as it is done.

    Args:
        pieces: dataclasses of one kind, made of plain data.
        at_once: tasks at most; None for as many as there is room for.

    Raises:
        ResVAERayError: a task raised it; anything else that it raised is a JobError.
        JobError: Ray gave up.
    """
    if not pieces:
        return
    import ray.data
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    done = ray.data.from_items([asdict(piece) for piece in pieces], override_num_blocks=len(pieces)).map_batches(
        answer,  # pyright: ignore[reportArgumentType]
        fn_kwargs={"task": task, "kind": type(pieces[0]), "arguments": arguments},
        batch_size=1,
        compute=ray.data.TaskPoolStrategy(size=at_once),
        **share,
    )
    try:
        for row in done.iter_rows():
            if row["error"]:
                raise getattr(errors, row["kind"])(row["error"])
            yield row["rows"]
    except RayError as error:
        raise JobError(
            f"Ray gave up: {first_line(error)}; the same command again goes on with what is missing"
        ) from error


def answer(
    batch: Mapping[str, np.ndarray], task: Callable[..., int], kind: type, arguments: dict[str, Any]
) -> dict[str, list]:
    """What Ray runs for the one piece in `batch`; an error travels as text, which Ray would lose."""
    try:
        rows = task(kind(**{name: _plain(values[0]) for name, values in batch.items()}), **arguments)
    except Exception as caught:
        told, text = in_words(caught)
        return {"rows": [0], "kind": [told], "error": [text]}
    return {"rows": [rows], "kind": [""], "error": [""]}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
