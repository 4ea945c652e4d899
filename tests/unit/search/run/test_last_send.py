"""Messages of a search that cannot reach the bucket when it ends."""

from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from s3_servers import served

from resvae_ray.errors import Interrupted, JobError
from resvae_ray.files.place import place
from resvae_ray.search import carry_out, tune
from resvae_ray.search.run import lock as lock_module

LOST = "s3://b/run/epochs.jsonl: cannot be reached: timeout"


@pytest.fixture
def run(tmp_path):
    """A RUN in a bucket that cannot be reached."""

    def fail():
        raise JobError(LOST)

    copy = SimpleNamespace(taken_by="")
    return SimpleNamespace(path=tmp_path, copy=copy, send=fail, write_tables=fail, resume_command="tune --resume")


def carried_out(run, monkeypatch, error):
    def end(run, work):
        raise error

    monkeypatch.setattr(carry_out, "_patiently", end)
    ended(run)


def ended(run):
    with tune._sent_at_last(run):
        carry_out.carry_out(run, None, None, False)


def test_an_interrupted_search_prints_how_to_resume(run, monkeypatch, capsys):
    with pytest.raises(Interrupted, match="stopped; resume with: tune --resume"):
        carried_out(run, monkeypatch, KeyboardInterrupt())
    assert capsys.readouterr().err == f"{LOST}; the files not uploaded are in {run.path}; retry with --resume\n"


def test_the_reason_of_a_failure_is_reported(run, monkeypatch, capsys):
    with pytest.raises(JobError, match="^every trial failed$"):
        carried_out(run, monkeypatch, JobError("every trial failed"))
    assert LOST in capsys.readouterr().err


def test_a_finished_search_that_is_not_uploaded_has_failed(run, monkeypatch):
    monkeypatch.setattr(carry_out, "_patiently", lambda run, work: False)
    monkeypatch.setattr(carry_out, "_finish", lambda run, dataset, stopped: run)
    with pytest.raises(JobError, match=f"^{LOST}$"):
        ended(run)


def test_a_takeover_by_another_process_is_reported_first(run, monkeypatch):
    run.copy.taken_by = "process 2 on elsewhere"
    with pytest.raises(JobError, match=f"^{LOST}$"):
        carried_out(run, monkeypatch, KeyboardInterrupt())


def test_a_lock_that_cannot_be_removed_does_not_hide_why_a_search_ended(bucket, monkeypatch, caplog):
    lock = place(f"{bucket}/run/run.lock")
    monkeypatch.setattr("resvae_ray.files.s3.ATTEMPTS", 1)
    with ExitStack() as stack:
        monkeypatch.setenv("AWS_ENDPOINT_URL", stack.enter_context(served(lambda app: app)))
        with (
            pytest.raises(Interrupted),
            lock_module.hold_in_bucket(lock, lambda other: pytest.fail(f"lost to {other}")),
        ):
            stack.close()
            raise Interrupted("stopped")
    assert "run.lock: cannot be reached" in caplog.text
