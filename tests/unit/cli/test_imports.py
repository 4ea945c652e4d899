"""A verb imports what it needs when it needs it, because a slow import delays every start."""

import subprocess
import sys
from pathlib import Path

import pytest

from resvae_ray.search.tune import SLOW_IMPORTS

FINISHED = Path(__file__).parents[2] / "data" / "written_by_0.1" / "finished"
SLOW = {"numpy", "pandas", "pyarrow", "torch", "ray", "optuna", "tensorboard", "scipy", "sklearn", "plotly", "boto3"}


def imported(code):
    """The slow packages that a process has imported after `code`."""
    text = f"import sys\n{code}\nprint(*sorted(set({SLOW!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split())


def verb(*arguments):
    return f"from resvae_ray.cli import main\ntry:\n    main({list(arguments)!r})\nexcept SystemExit:\n    pass"


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        (verb("--help"), set()),
        (verb("tune", "--help"), set()),
        (verb("status", str(FINISHED)), {"numpy", "pyarrow"}),
        ("import resvae_ray.search.tune", {"numpy", "pyarrow"}),  # Ray starts before the rest is imported
    ],
)
def test_it_imports_nothing_slow_besides(code, needed):
    assert imported(code) == needed


def test_no_part_of_ray_is_imported_beside_its_start():
    """Two threads that import parts of one package may each see a half-imported one."""
    found = imported("\n".join(f"import {name}" for name in SLOW_IMPORTS))
    assert found >= {"torch", "optuna", "tensorboard"}
    assert "ray" not in found
