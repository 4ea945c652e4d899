from dataclasses import dataclass

import numpy as np
import pytest

from resvae_ray.errors import DataError
from resvae_ray.on_ray.tasks import POSITION, answer


@dataclass(frozen=True)
class Piece:
    number: int
    file: str
    groups: list[int]


BATCH = {
    POSITION: np.array([5]),
    "number": np.array([3]),
    "file": np.array(["a"], dtype=object),
    "groups": np.array([np.array([1, 2]), None], dtype=object)[:1],
}


def test_a_task_gets_its_piece_as_it_was():
    seen = []

    def task(piece, more):
        seen.append((piece, more))
        return 7

    assert answer(BATCH, task, Piece, {"more": 1}) == {
        **{POSITION: [5], "rows": [7], "content": [b""], "kind": [""], "error": [""]}
    }
    assert seen == [(Piece(3, "a", [1, 2]), 1)]
    assert type(seen[0][0].number) is int


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (DataError("weights.bin: damaged"), "DataError", "weights.bin: damaged"),
        (OSError(28, "No space left on device", "/p"), "JobError", "OSError: [Errno 28] No space left on device: '/p'"),
        (
            RuntimeError("\nCUDA error: an illegal access\nMore"),
            "JobError",
            "RuntimeError: CUDA error: an illegal access",
        ),
        (MemoryError(), "JobError", "MemoryError"),
    ],
)
def test_a_task_error_keeps_its_own_message(error, kind, text):
    def fail(_):
        raise error

    assert answer(BATCH, fail, Piece, {}) == {
        **{POSITION: [5], "rows": [0], "content": [b""], "kind": [kind], "error": [text]}
    }


def test_a_task_may_return_content_beside_its_rows():
    found = answer(BATCH, lambda piece: (3, b"moments"), Piece, {})
    assert (found["rows"], found["content"]) == ([3], [b"moments"])
