"""Ray jobs without Ray."""

from contextlib import nullcontext

import pytest

from resvae_ray.embed import embed_proteins
from resvae_ray.errors import ResVAERayError
from resvae_ray.jobs import check_job, import_job, split_job
from resvae_ray.on_ray import pieces, tasks
from resvae_ray.on_ray.tasks import Outcome


class Done(list):
    """Names of the files that tasks have made.

    Attributes:
        after: an error by the number of files after which the job ends with it.
    """

    def __init__(self):
        super().__init__()
        self.after = {}


@pytest.fixture
def tasks_here(monkeypatch):
    """Tasks run in this process, one after another."""
    done = Done()

    def run(task, pieces, share, at_once=None, **arguments):
        for position, piece in enumerate(pieces):
            if (error := done.after.get(len(done))) is not None:
                raise error
            try:
                returned, failed = task(piece, **arguments), None
                rows, content = returned if isinstance(returned, tuple) else (returned, b"")
                if hasattr(piece, "output"):
                    done.append(piece.output)
            except ResVAERayError as error:
                rows, content, failed = 0, b"", error
            yield Outcome(position, rows, failed, content)

    for module in (pieces, tasks, check_job):
        monkeypatch.setattr(module, "try_tasks", run)
    for module in (pieces, check_job, embed_proteins, import_job, split_job):
        monkeypatch.setattr(module, "ray_session", lambda address: nullcontext([{"CPU": 1.0}]))
    return done
