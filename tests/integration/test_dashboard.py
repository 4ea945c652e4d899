"""The study as optuna-dashboard shows it: its own way of opening a path, its own answers, without a port."""

import json
import math
from wsgiref.util import setup_testing_defaults

import pytest
from conftest import SMALL
from optuna_dashboard import wsgi
from optuna_dashboard._storage_url import get_storage

from resvae_ray.search.tune import tune

pytestmark = pytest.mark.usefixtures("ray_here")


def ask(app, path):
    """The JSON that the dashboard's page gets."""
    environ, told = {"PATH_INFO": path}, []
    setup_testing_defaults(environ)
    body = b"".join(app(environ, lambda status, headers, error=None: told.append((status, error))))
    assert told == [("200 OK", None)], (path, told, body)
    return json.loads(body)


def test_pruned_and_complete_trials_with_their_curves(make_dataset, tmp_path):
    run = tune(make_dataset(150, 10), tmp_path / "run", SMALL)
    journal = run.path / "study.journal"
    before = journal.read_bytes()
    app = wsgi(get_storage(str(journal)))
    (summary,) = ask(app, "/api/studies")["study_summaries"]
    assert (summary["study_name"], summary["directions"]) == (run.info["study"], ["minimize"])
    study = ask(app, f"/api/studies/{summary['study_id']}")
    assert study["has_intermediate_values"]
    records = run.records()
    assert {record.state for record in records} == {"complete", "pruned"}, "else this test shows nothing"
    for shown, record in zip(study["trials"], records, strict=True):
        assert (shown["number"], shown["state"].lower()) == (record.number, record.state)
        curve = {point["step"]: point["value"] for point in shown["intermediate_values"]}
        assert curve == {row["epoch"]: row["best_val_loss"] for row in record.epochs}
        assert shown["values"] == [record.best_val_loss]
        params = {param["name"]: float(param["param_external_value"]) for param in shown["params"]}
        assert params == pytest.approx(record.params)
    complete = min(record.best_val_loss for record in records if record.state == "complete")
    (best,) = study["best_trials"]
    assert best["values"] == [complete], "the dashboard's best is the best of the complete ones"
    assert min(shown["values"][0] for shown in study["trials"]) == run.best().best_val_loss
    (importances,) = ask(app, f"/api/studies/{summary['study_id']}/param_importances")["param_importances"]
    assert {entry["name"] for entry in importances} == set(SMALL.space)
    assert all(math.isfinite(entry["importance"]) for entry in importances)
    assert journal.read_bytes() == before, "looking changes nothing"
