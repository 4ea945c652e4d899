"""The commands of README and docs, as they are written there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from resvae_ray.cli import build_parser, main
from resvae_ray.config_file import load_config
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.synthetic import write_synthetic_csv

pytestmark = pytest.mark.usefixtures("ray_here", "one_trial_at_a_time")

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial" / "features.md"
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
name_of: Any = {"ids": lambda page: str(page.relative_to(ROOT))}
OTHERS = {
    "--help",
    "--constraint",
    "--generate",
    "--logdir",
    "--local-dir",
    "--recursive",
    "--strict",
}  # of other tools


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def console(page):
    """The command lines that a page shows at a prompt, without their comments."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]


def new_place(tmp_path_factory, name):
    """A folder with the files that the pages name: tables of proteins, a matrix, a test set."""
    folder = tmp_path_factory.mktemp(name)
    write_synthetic_csv(folder / "proteins.csv", 60, 10)
    np.save(folder / "embeddings.npy", np.eye(5, dtype=np.float32))
    pd.DataFrame({"id": list("abcde"), "length": range(5)}).to_csv(folder / "proteins.tsv", sep="\t", index=False)
    pd.DataFrame({"id": ["SYN00000007", "other"], "label": ["a", "b"]}).to_csv(folder / "test_set.csv", index=False)
    return folder


def run_blocks(page, place):
    """Runs the `bash` and `python` blocks of a page in `place`, in order; a block knows the names of earlier ones."""
    known = {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for language, block in re.findall(r"```(bash|python)\n(.*?)```", page.read_text(), re.S):
            if language == "python":
                exec(compile(block, str(page), "exec"), known)
                continue
            for line in block.strip().splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "resvae-ray"
                assert main(arguments) == 0, line


@pytest.fixture(scope="module")
def tutorial(ray_here, one_trial_at_a_time, tmp_path_factory):
    """The folder left by the tutorial's commands; the guide continues from it."""
    place = new_place(tmp_path_factory, "tutorial")
    run_blocks(TUTORIAL, place)
    return place


def test_readme(tmp_path_factory):
    place = new_place(tmp_path_factory, "readme")
    run_blocks(README, place)
    latents = pd.read_parquet(place / "out" / "latents.parquet")
    assert len(latents) == 60
    assert {"id", "z", "label"} == set(latents.columns)
    assert (place / "out" / "report" / "report.html").is_file()
    assert len(pd.read_csv(place / "out" / "run" / "trials.csv")) == 1
    assert len(pd.read_csv(place / "latents.csv")) == 60


def test_tutorial(tutorial):
    dataset = Dataset.open(tutorial / "dataset")
    assert dataset.train_rows + dataset.val_rows == 59, "without the protein of the test set"
    assert len(pd.read_parquet(tutorial / "latents.parquet")) == 60
    assert len(pd.read_csv(tutorial / "run" / "trials.csv")) == 10


@pytest.mark.parametrize("page", GUIDE, **name_of)
def test_guide(page, tutorial):
    run_blocks(page, tutorial)


@pytest.mark.parametrize("page", PAGES, **name_of)
def test_every_command_line_can_be_parsed(page):
    for words in console(page):
        if words[0] == "resvae-ray":
            assert build_parser().parse_args(words[1:]).verb


@pytest.mark.parametrize("page", PAGES, **name_of)
def test_every_option_exists(page):
    verbs: Any = next(action for action in build_parser()._actions if getattr(action, "choices", None))
    known = {option for verb in verbs.choices.values() for action in verb._actions for option in action.option_strings}
    ours = re.sub(
        r"```(?!bash|python).*?```|`(?:ray|python|scripts/|aws|hf|pip)[^`]*`", "", page.read_text(), flags=re.S
    )
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours)) - OTHERS:
        assert option in known or option in growth_options(page), f"{option} is no option"


def growth_options(page):
    """The options of the simulation that the page about growth explains."""
    if page.name != "growth.md":
        return []
    text = (ROOT / "benchmarks" / "growth.py").read_text()
    rates = [f"--{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): float", text, re.M)]
    return [*rates, *re.findall(r"--[a-z-]+", text)]


@pytest.mark.parametrize("page", PAGES, **name_of)
def test_every_configuration_can_be_read(page, tmp_path):
    for block in blocks(page, "toml"):
        (tmp_path / "mine.toml").write_text(block)
        assert load_config(tmp_path / "mine.toml").space


@pytest.mark.parametrize("page", PAGES, **name_of)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        if "reference/" not in target:  # generated, see scripts/docs_pages.py; mkdocs checks them
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_site_builds(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for page in ("index.html", "reference/verbs.html", "reference/python.html", "tutorial/search.html"):
        assert (tmp_path / "site" / page).is_file()
    verbs = (tmp_path / "site" / "reference" / "verbs.html").read_text()
    assert "--exclude-similarity" in verbs
