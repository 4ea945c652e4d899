"""The sdist and the wheel: content and version are right, and both work in a new environment, outside the checkout."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import resvae_ray

ROOT = Path(__file__).parents[2]
PACKAGED = ["pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist and the wheel made from it. Built from a copy, so that no earlier build gets in."""
    place = tmp_path_factory.mktemp("built")
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "resvae_ray", source / "resvae_ray", ignore=shutil.ignore_patterns("__pycache__"))
    for name in PACKAGED:
        shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(place), str(source)], check=True, capture_output=True
    )
    return place


@pytest.fixture(scope="module", params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def archive(request, built):
    (found,) = built.glob(request.param)
    return found


def files_of_the_package():
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "resvae_ray").rglob("*") if path.is_file()}
    return {name for name in here if "__pycache__" not in name}


def test_the_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name for name in names if ".dist-info" not in name} == files_of_the_package()
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


def test_the_sdist_holds_the_package_and_what_builds_it(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    made_by_setuptools = {name for name in names if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert names - made_by_setuptools == files_of_the_package() | set(PACKAGED)


def test_an_index_would_accept_both(built):
    files = sorted(map(str, built.iterdir()))
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_the_version_is_the_same_everywhere(built):
    version = resvae_ray.__version__
    assert sorted(path.name for path in built.iterdir()) == [
        f"resvae_ray-{version}-py3-none-any.whl",
        f"resvae_ray-{version}.tar.gz",
    ]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    sections = re.findall(r"^## \[(.+?)\](?: - (.+))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert sections[0] == ("Unreleased", "")
    assert sections[1] == (version, str(citation["date-released"]))
    assert citation["version"] == version
    assert {"cff-version", "message", "title", "authors"} < citation.keys()


def test_its_command_works_in_a_new_environment(archive, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", archive], check=True, capture_output=True)
    # The dependencies come from this environment, because another copy takes gigabytes. The package itself does not:
    # a hook finds an editable install, and a path file does not run that hook.
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    code = "import resvae_ray; print(resvae_ray.__file__)"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(site))
    (tmp_path / "a.csv").write_text("id,f0,f1\n" + "".join(f"p{n},{n},1\n" for n in range(9)))
    command = str(tmp_path / "venv" / "bin" / "resvae-ray")
    said = {}
    for line in ("--version", "import a.csv a.parquet", "split a.parquet dataset", "config quick", "tune --help"):
        done = subprocess.run([command, *line.split()], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said[line] = done.stdout
    assert said["--version"] == f"resvae-ray {resvae_ray.__version__}\n"
    assert 'name = "quick"' in said["config quick"]
    assert "esm2_650m_cls, high_fidelity, quick, rate_distortion, recommended" in " ".join(said["tune --help"].split())


@pytest.mark.timeout(600)  # the registry is asked for each package
def test_the_images_pip_line_finds_a_version_of_everything(tmp_path):
    (line,) = re.findall(r"^RUN pip install (.*)$", (ROOT / "scripts/Dockerfile").read_text(), re.MULTILINE)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [
        tmp_path / "venv/bin/python",
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--quiet",
        "--report",
        tmp_path / "report",
    ]
    subprocess.run([*pip, *line.split()], cwd=ROOT, check=True, capture_output=True)
    found = {entry["metadata"]["name"]: entry for entry in json.loads((tmp_path / "report").read_text())["install"]}
    assert {"resvae-ray", "ray", "torch", "optuna"} <= {name.lower().replace("_", "-") for name in found}
