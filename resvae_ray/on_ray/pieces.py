"""A folder made piece by piece as a Ray Data job: each piece is a file of its own, which appears when it is whole.

An interrupted job resumes with the missing files; at its end the rows of all files are counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from resvae_ray.data.parquet_pieces import parquet_file
from resvae_ray.errors import BadFileError, DataError, JobError
from resvae_ray.files.place import Place
from resvae_ray.on_ray.cluster import ray_session
from resvae_ray.on_ray.tasks import Share, try_tasks
from resvae_ray.progress import Progress


class Piece(Protocol):
    """A dataclass of plain data."""

    @property
    def output(self) -> str:
        """The name of its file in the folder."""
        ...

    @property
    def rows(self) -> int:
        """The rows that the file is to have; 0 if they are not known before it is made."""
        ...


SomePiece = TypeVar("SomePiece", bound=Piece)
OnBadPiece = Callable[[Any, BadFileError], None]


def one_core(nodes: Sequence[Mapping[str, float]]) -> Share:
    """The share of a task that computes on the CPU."""
    return {"num_cpus": 1}


def missing_pieces(folder: Place, pieces: Sequence[SomePiece]) -> list[SomePiece]:
    """The pieces whose files are not there."""
    there = folder.file_names()
    return [piece for piece in pieces if piece.output not in there]


def _fail(piece: Any, error: BadFileError) -> None:
    raise error


def make_pieces(
    task: Callable[..., int],
    folder: Place,
    pieces: Sequence[SomePiece],
    address: str,
    progress: Progress,
    share_of: Callable[[Sequence[Mapping[str, float]]], Share] = one_core,
    on_bad: OnBadPiece = _fail,
    **arguments: Any,
) -> list[SomePiece]:
    """Runs `task(piece, **arguments)`, which writes a file, for each that is missing.

    Args:
        share_of: the share of a task, of the resources of all nodes.
        on_bad: called for each piece whose source cannot be read. If it returns, the others are made; by default it
            raises.

    Returns:
        The pieces whose source cannot be read.

    Raises:
        ResVAERayError: a task raised it.
        JobError: Ray gave up.
    """
    missing, bad = missing_pieces(folder, pieces), list[SomePiece]()
    known = all(piece.rows for piece in pieces)
    total = sum(piece.rows for piece in pieces)
    done = total - sum(piece.rows for piece in missing)
    progress(done, total if known else None)
    if not missing:
        return bad
    with ray_session(address) as nodes:
        for outcome in try_tasks(task, missing, share_of(nodes), **arguments):
            if isinstance(outcome.error, BadFileError):
                piece = missing[outcome.position]
                on_bad(piece, outcome.error)
                bad.append(piece)
                total -= piece.rows
            elif outcome.error:
                raise outcome.error
            done += outcome.rows
            progress(done, total if known else None)
    return bad


def require_rows(folder: Place, pieces: Iterable[Piece]) -> None:
    """
    Raises:
        JobError: a file does not have the rows that it has to have; it is removed.
    """
    for piece in pieces:
        path = folder / piece.output
        if (found := _rows_at(path)) != piece.rows:
            path.unlink(missing_ok=True)  # what is not there is made by the same command
            raise JobError(f"{path}: {found} rows instead of {piece.rows}; run the same command again")


def _rows_at(path: Place) -> int:
    try:
        return parquet_file(*path.located()).metadata.num_rows if path.exists() else 0
    except DataError:
        return 0
