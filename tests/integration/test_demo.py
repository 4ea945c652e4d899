"""The demo, with fewer and narrower rows."""

import pandas as pd
import pytest

from resvae_ray import demo as demo_module
from resvae_ray.cli import main

pytestmark = pytest.mark.usefixtures("ray_here")


def test_the_demo_runs_and_runs_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo_module, "ROWS", 120)
    monkeypatch.setattr(demo_module, "DIM", 16)
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
