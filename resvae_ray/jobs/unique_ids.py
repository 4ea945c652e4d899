"""Repeated ids among any number of rows: each task holds the hashes of a share of them."""

from dataclasses import dataclass

from resvae_ray.data.features import Features, require_unique_share
from resvae_ray.on_ray.pieces import one_core
from resvae_ray.on_ray.tasks import run_tasks

TASK_ROWS = 1 << 24  # about the ids whose hashes a task holds: 16 bytes each while they are gathered


@dataclass(frozen=True)
class IdShare:
    """The ids whose hash leaves the remainder `number` when divided by `shares`."""

    number: int
    shares: int


def require_unique_on_ray(source: Features) -> None:
    """
    Every task reads all ids.

    Raises:
        DataError: see `require_unique_ids`.
    """
    shares = 1 + source.rows // TASK_ROWS
    pieces = [IdShare(number, shares) for number in range(shares)]
    for _ in run_tasks(_require_unique, pieces, one_core([]), source=source):
        pass


def _require_unique(share: IdShare, source: Features) -> int:
    require_unique_share(source.ids, source.path, "row {}".format, share.number, share.shares)
    return 0
