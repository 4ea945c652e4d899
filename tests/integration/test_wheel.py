"""The built wheel works in a new environment, away from the checkout."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing of an earlier build gets in."""
    place = tmp_path_factory.mktemp("wheel")
    files = ["pyproject.toml", "README.md", "LICENSE"]
    shutil.copytree(ROOT / "resvae_ray", place / "source" / "resvae_ray", ignore=shutil.ignore_patterns("__pycache__"))
    for name in files:
        shutil.copy(ROOT / name, place / "source" / name)
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(place), str(place / "source")]
    subprocess.run(build, check=True, capture_output=True)
    return next(place.glob("*.whl"))


def test_it_holds_all_that_is_needed_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    packed = {name for name in names if ".dist-info" not in name}
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "resvae_ray").rglob("*") if path.is_file()}
    assert packed == {name for name in here if "__pycache__" not in name}
    for requirement in (
        "ray[data,tune]",
        "torch",
        "optuna",
        "pandas",
        "numpy",
        "pyarrow",
        "safetensors",
        "tensorboard",
    ):
        assert f"Requires-Dist: {requirement}" in metadata


def test_its_command_works_in_a_new_environment(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True, capture_output=True)
    # What it depends on is taken from here: gigabytes that need not be installed twice. The package is not, since an
    # editable install is found by a hook that a path file does not run.
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    code = "import resvae_ray; print(resvae_ray.__file__)"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(site))
    (tmp_path / "a.csv").write_text("id,f0,f1\n" + "".join(f"p{n},{n},1\n" for n in range(9)))
    command = str(tmp_path / "venv" / "bin" / "resvae-ray")
    for line in ("--version", "import a.csv a.parquet", "split a.parquet dataset", "tune --help"):
        done = subprocess.run([command, *line.split()], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "esm2_650m_cls, high_fidelity, quick, rate_distortion, recommended" in " ".join(done.stdout.split())
