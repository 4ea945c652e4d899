"""The demo, with fewer and narrower rows, and a shorter search."""

from dataclasses import replace

import pandas as pd
import pytest

from resvae_ray import demo as demo_module
from resvae_ray.cli import main
from resvae_ray.config_file import load_config

pytestmark = pytest.mark.usefixtures("ray_here", "one_trial_at_a_time")


def shorter(scenario):
    config = load_config(scenario)
    search = replace(config.search, trials=3, startup_trials=2, grace=3)
    return replace(config, search=search, training=replace(config.training, epochs=9))


def test_the_demo_runs_and_runs_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo_module, "ROWS", 120)
    monkeypatch.setattr(demo_module, "DIM", 16)
    monkeypatch.setattr(demo_module, "load_config", shorter)
    for _ in range(2):
        (tmp_path / "demo").mkdir(exist_ok=True)
        assert main(["demo", str(tmp_path / "demo")]) == 0
        out = capsys.readouterr().out
        assert out.startswith("SYNTHETIC data set: 120 rows of 16 numbers")
        for verb in ("run", "import", "check", "split", "tune", "export", "evaluate", "encode", "report"):
            assert f"$ resvae-ray {verb}" in out
        assert "On your own data" in out
        assert "eval_loss" in out
        assert "SYNTHETIC (quick)" in out
        latents = pd.read_parquet(tmp_path / "demo" / "out" / "latents.parquet")
        assert len(latents) == 120
        assert latents.label.str.startswith("synthetic").all()
        (tmp_path / "demo" / "notes.txt").write_text("mine")
    assert "SYNTHETIC" in (tmp_path / "demo" / "out" / "model" / "README.md").read_text()
    assert (tmp_path / "demo" / "notes.txt").read_text() == "mine"


def test_a_failing_step_fails_the_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo_module, "ROWS", 2)
    monkeypatch.setattr(demo_module, "DIM", 4)
    assert main(["demo", str(tmp_path / "demo")]) == 1
    assert "the demo's command failed with exit code 3: resvae-ray run" in capsys.readouterr().err
