"""The scripts that submit jobs to a cluster, with a fake `ray`."""

import argparse
import os
import subprocess
from pathlib import Path

import pytest

from resvae_ray.cli import build_parser

SCRIPTS = Path(__file__).parents[2] / "scripts"
# A file with the status represents a job. Following it shows the first lines of `log`, one more line each time, and
# sets the status to `end` after the last line.
RAY = """#!/usr/bin/env bash
cd "$(dirname "$0")"
job=${!#}
case "$1 $2" in
    "get-auth-token --generate") mkdir -p ~/.ray && echo secret >~/.ray/auth_token ;;
    "job status") cat "$job" 2>/dev/null || { echo "RuntimeError: ${gone-Job $job does not exist}" >&2; exit 1; } ;;
    "job submit")
        echo "${@:3}" >>submitted
        cp "$7"/* . 2>/dev/null || true
        echo "Status for job '$5': RUNNING" >"$5" ;;
    "job logs")
        echo x >>calls
        printf '2026-11-22 22:10:43,815\\tINFO cli.py:42 -- Job submission server address: here\\n'
        head -n "$(wc -l <calls)" log
        [ "$(wc -l <calls)" -lt "$(wc -l <log)" ] || {
            mv end "$job"
            printf '2026-11-22 22:10:53,460\\tERR cli.py:74 -- the end, and all again:\\n'
            cat log
        } ;;
esac
"""
TUNE = ("tune", "cluster.yaml", "s3://b/dataset", "s3://b/run")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a cluster's file, a token and that `ray`."""
    (tmp_path / "ray").write_text(RAY)
    (tmp_path / "ray").chmod(0o755)
    (tmp_path / "log").write_text("a line\n")
    (tmp_path / "end").write_text("Job 'x' succeeded\n")
    (tmp_path / "cluster.yaml").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submit(*arguments: str, script: str = "submit") -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPTS / script, *arguments], capture_output=True, text=True)


def jobs(place: Path) -> list[str]:
    return (place / "submitted").read_text().splitlines() if (place / "submitted").exists() else []


def test_the_head_gets_the_verb_and_its_words_are_shown(place):
    done = submit(*TUNE, "--trials", "3")
    assert (done.returncode, done.stdout) == (0, "a line\n")
    (job,) = jobs(place)
    assert job.endswith("-- python -m resvae_ray tune s3://b/dataset s3://b/run --trials 3 --address auto")
    assert "rerun this command to reattach" in done.stderr


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("Job 'x' failed\nStatus message: Job entrypoint command failed with exit code 3, last logs", 3),
        ("Job 'x' failed\nStatus message: the supervisor died", 1),
        ("Job 'x' was stopped", 1),
    ],
)
def test_the_exit_code_is_the_verbs(place, end, code):
    (place / "end").write_text(end)
    assert submit(*TUNE).returncode == code


def test_a_running_job_is_followed_and_not_resubmitted(place):
    submit(*TUNE)
    name = jobs(place)[0].split()[2]
    (place / name).write_text(f"Status for job '{name}': RUNNING")
    (place / "end").write_text("Job 'x' succeeded")
    done = submit(*TUNE, "--resume")
    assert (done.returncode, len(jobs(place))) == (0, 1)
    assert name in done.stderr


def test_after_a_job_has_ended_the_next_one_has_the_next_number(place):
    for _ in range(2):
        (place / "end").write_text("Job 'x' succeeded")
        submit(*TUNE)
    first, second = (job.split()[2] for job in jobs(place))
    assert (first[:-1], first[-1], second[-1]) == (second[:-1], "1", "2")
    (place / "end").write_text("Job 'x' succeeded")
    submit(*TUNE[:3], "s3://b/another")
    assert jobs(place)[2].split()[2][:-2] != first[:-2]


def test_interrupted_following_resumes_where_it_stopped(place):
    (place / "log").write_text("one\ntwo\n")
    done = submit(*TUNE)
    assert (done.returncode, done.stdout) == (0, "one\ntwo\n")


def test_a_lost_connection_says_what_to_do(place, monkeypatch):
    monkeypatch.setenv("gone", "Failed to connect to Ray at http://127.0.0.1:1")
    done = submit(*TUNE)
    assert done.returncode == 1
    assert "Failed to connect" in done.stderr
    assert jobs(place) == []


@pytest.mark.parametrize("before", ["missing", "readable by all"])
def test_the_file_of_the_token_is_the_users_alone(place, monkeypatch, before):
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(place / "home"))
    file = place / "home/.ray/auth_token"
    if before != "missing":
        file.parent.mkdir(parents=True)
        file.write_text("mine")
        file.chmod(0o644)
    done = submit(*TUNE)
    assert done.returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() == ("secret" if before == "missing" else "mine")
    assert ("'ray up cluster.yaml' gives this token to the cluster" in done.stderr) == (before == "missing")


def test_every_verb_that_runs_on_ray_can_be_submitted(place):
    verbs = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    on_ray = {name for name, parser in verbs.items() if "--address" in parser.format_help()} - {"doctor"}
    for name in on_ray:
        paths = [action.metavar for action in verbs[name]._actions if not action.option_strings]
        done = submit(name, "cluster.yaml")
        assert done.stderr == f"usage: scripts/submit {name} CLUSTER.yaml {' '.join(paths)} [FLAGS OF {name}]\n"
        assert submit(name, "cluster.yaml", *(f"s3://b/{path}" for path in paths)).returncode == 0
        (place / "end").write_text("Job 'x' succeeded\n")
    assert {job.partition(" -- python -m resvae_ray ")[2].split()[0] for job in jobs(place)} == on_ray


@pytest.mark.parametrize("config", [("--config", "mine.toml"), ("--config=mine.toml",)])
def test_a_configuration_travels_with_the_job(place, config):
    (place / "mine.toml").write_text("[search]\n")
    submit(*TUNE, *config)
    assert (place / "search.toml").read_text() == "[search]\n"
    assert " ".join(config).replace("mine", "search") in jobs(place)[0]


def test_a_scenario_goes_by_its_name(place):
    submit(*TUNE, "--config", "quick")
    assert "--config quick" in jobs(place)[0]


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("submit", (), "usage: scripts/submit VERB CLUSTER.yaml"),
        ("submit", ("report", *TUNE[1:]), "where VERB is embed, import, check, split, tune, encode or run"),
        ("submit", TUNE[:3], "usage: scripts/submit tune CLUSTER.yaml DATASET RUN"),
        ("submit", ("encode", *TUNE[1:]), "usage: scripts/submit encode CLUSTER.yaml MODEL FEATURES LATENTS"),
        ("submit", ("tune", "absent.yaml", *TUNE[2:]), "absent.yaml: no such file"),
        ("submit", (*TUNE[:3], "run"), "run: nodes cannot find a relative path"),
        ("tunnel", (), "usage: scripts/tunnel CLUSTER.yaml [RUN]"),
    ],
)
def test_a_mistake(place, script, arguments, message):
    done = submit(*arguments, script=script)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
