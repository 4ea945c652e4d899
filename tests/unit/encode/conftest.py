"""Encoding jobs without Ray: tasks run in this process, one after another."""

from contextlib import nullcontext

import pytest
import torch

from resvae_ray.encode import encode_features as job
from resvae_ray.errors import ResVAERayError
from resvae_ray.model.network import ResVAE
from resvae_ray.on_ray.tasks import Outcome


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return ResVAE(6, 16, 3).save_pretrained(tmp_path / "model")


@pytest.fixture
def encoded(monkeypatch):
    """The units that were encoded, in order; an exception put into `encoded.after` by its count ends the job there."""
    units = Units()

    def run(task, pieces, share, **arguments):
        for position, piece in enumerate(pieces):
            if (error := units.after.get(len(units))) is not None:
                raise error
            try:
                rows, failed = task(piece, **arguments), None
                units.append(piece.output)
            except ResVAERayError as error:
                rows, failed = 0, error
            yield Outcome(position, rows, failed)

    monkeypatch.setattr(job, "try_tasks", run)
    monkeypatch.setattr(job, "ray_session", lambda address: nullcontext([]))
    return units


class Units(list):
    def __init__(self):
        super().__init__()
        self.after = {}
