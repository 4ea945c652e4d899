"""The final round trains its finalists in float32, whatever the search rounded to."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from types import SimpleNamespace

import pytest

from resvae_ray.search import final_round
from resvae_ray.search.trial import TrainingJob


@pytest.mark.parametrize("matmul", ["bfloat16", "float32"])
def test_retrainings_multiply_in_float32(matmul, monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(final_round, "left_to_train", lambda finalists: ["a retraining"])
    monkeypatch.setattr(final_round, "_tidy", lambda *_: None)
    monkeypatch.setattr(final_round, "write_choice", lambda *_: None)
    monkeypatch.setattr(final_round, "_train", lambda run, job, *_: trained.append(job))
    job = TrainingJob("d", "f", "r", {"matmul": matmul, "epochs": 3}, {}, 0, (), 30.0, 1, False)
    final_round.train_finalists(SimpleNamespace(finalists=list, path=tmp_path), job, None, None)
    assert [job.training for job in trained] == [{"matmul": "float32", "epochs": 3}]
