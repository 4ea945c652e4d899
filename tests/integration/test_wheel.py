"""The built wheel holds all that it needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_works_outside_the_checkout(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        names = archive.namelist()
    assert {"resvae_ray/py.typed", "resvae_ray/scenarios/esm2_650m_cls.toml"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]
    code = (
        "import resvae_ray, resvae_ray.config as c; print(resvae_ray.__file__); print(c.scenario_names());"
        "from resvae_ray.search.tune import tune; from resvae_ray.encode import encode_features"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    file, scenarios = done.stdout.splitlines()
    assert file.startswith(str(tmp_path / "site"))
    assert scenarios == "['esm2_650m_cls', 'quick']"
