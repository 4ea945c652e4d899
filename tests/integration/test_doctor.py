"""The doctor on a real Ray, with GPUs that it only believes in, and on two machines that are one."""

import json
from pathlib import Path

import pytest

from resvae_ray.cli import main
from resvae_ray.doctor import nodes as doctor

pytestmark = pytest.mark.usefixtures("ray_here")


def test_gpus_that_only_ray_sees(tmp_path: Path, capsys):
    assert main(["doctor", "--storage", str(tmp_path), "--json"]) == 1
    out, err = capsys.readouterr()
    found = {it["about"]: it for it in json.loads(out)}
    assert "Ray has 4 on" in found["GPUs"]["text"]
    assert "sees 0" in found["GPUs"]["text"]
    assert found["storage"]["text"] == f"{tmp_path} is written and read by 1 machine"
    assert [found[about]["ok"] for about in ("ray", "versions", "clocks")] == [True] * 3
    assert err.startswith("resvae-ray: not well: GPUs")
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path: Path, capsys):
    assert main(["doctor", "--storage", str(tmp_path / "absent")]) == 1
    assert f"cannot write to {tmp_path}/absent: " in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_cannot_be_examined(monkeypatch):
    class Broken(doctor.Examiner):
        def examine(self):
            raise ModuleNotFoundError("No module named 'resvae_ray'")

    monkeypatch.setattr(doctor, "Examiner", Broken)
    (finding,) = doctor.examine_cluster()
    assert finding.ok is False
    assert "No module named 'resvae_ray'" in finding.text
