"""The README's commands, as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from resvae_ray.data.synthetic import write_synthetic_csv

README = Path(__file__).parents[2] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    write_synthetic_csv(folder / "proteins.csv", 60, 10)
    pd.DataFrame({"id": ["SYN00000007", "other"], "label": ["a", "b"]}).to_csv(folder / "test_set.csv", index=False)
    return folder


def run(command, place):
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.timeout(900)  # all fifty trials of the paper's search
def test_the_command_line(place):
    (block,) = blocks("bash")
    for line in block.strip().splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "resvae-ray"
        run([sys.executable, "-m", "resvae_ray", *arguments], place)
    latents = pd.read_parquet(place / "latents.parquet")
    assert len(latents) == 60
    assert {"id", "z", "label"} == set(latents.columns)
    assert len(pd.read_csv(place / "run" / "trials.csv")) == 50


def console():
    """The command lines that the README shows at a prompt, without their comments."""
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]


def test_going_on_with_a_search_and_extending_it(place):
    for words in console():
        if words[:2] == ["resvae-ray", "tune"] and "--resume" in words:
            run([sys.executable, "-m", "resvae_ray", *words[1:]], place)
    assert len(pd.read_csv(place / "run" / "trials.csv")) == 80


def test_every_command_line_can_be_read():
    from resvae_ray.cli import build_parser

    shown = [words[1:] for words in console() if words[0] == "resvae-ray"]
    assert len(shown) >= 5
    for words in shown:
        assert build_parser().parse_args(words).verb


def test_python(place):
    for block in blocks("python"):
        run([sys.executable, "-c", block], place)
    assert len(pd.read_parquet(place / "again" / "latents.parquet")) == 60


def test_the_configuration(place):
    from resvae_ray.config_file import load_config

    (block,) = blocks("toml")
    (place / "mine.toml").write_text(block)
    assert load_config(place / "mine.toml").space["batch_size"].choices == (32, 64)


def test_every_option_that_it_names_exists():
    from resvae_ray.cli import build_parser

    (verbs,) = (action for action in build_parser()._actions if getattr(action, "choices", None))
    known = {option for verb in verbs.choices.values() for action in verb._actions for option in action.option_strings}
    others = {"--help", "--constraint", "--generate", "--logdir", "--local-dir", "--recursive"}
    for option in set(re.findall(r"--[a-z][a-z-]+", README.read_text())) - others:
        assert option in known, f"{option} is no option"
