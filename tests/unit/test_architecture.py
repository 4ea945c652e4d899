"""Imports point down only, and importing the package is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import resvae_ray

ROOT = Path(resvae_ray.__file__).parent
# Each layer may import itself and the layers below it.
LAYERS = [
    [
        "_version",
        "config",
        "config_file",
        "errors",
        "extras",
        "leftovers",
        "listing",
        "names",
        "progress",
        "remote",
        "s3",
        "seeds",
        "storage",
        "scenarios",
    ],
    ["data"],
    ["model"],
    ["cluster", "tasks"],
    ["doctor", "embed", "encode", "search"],
    ["insight"],
    ["demo"],
    ["cli"],
    ["__main__"],
]
MAY_IMPORT_RAY = {"cluster", "tasks", "doctor/nodes", "embed/workers", "search"}  # rooms, or single modules of them
BESIDE = [("encode", "search"), ("embed", "encode"), ("embed", "search")]  # of one layer, and not to know each other


def layer_of(room: str) -> int:
    return next(height for height, rooms in enumerate(LAYERS) if room in rooms)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names if node.module == "resvae_ray"]
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down(path):
    room = room_of(path)
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "ray":
            module = path.relative_to(ROOT).with_suffix("").as_posix()
            assert {room, module} & MAY_IMPORT_RAY, f"{path.name} imports {name}"
        if top == "resvae_ray" and rest:
            assert layer_of(rest[0]) <= layer_of(room), f"{path.name} imports {name}, which is above it"
            assert (room, rest[0]) not in BESIDE, f"{path.name} imports {name}"
            assert (rest[0], room) not in BESIDE, f"{path.name} imports {name}"


def test_every_module_says_what_it_is_for():
    for path in [*modules(), ROOT / "__init__.py"]:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_importing_the_package_loads_neither_torch_nor_ray():
    heavy = ("torch", "ray", "pandas", "pyarrow", "transformers", "huggingface_hub")
    code = f"import sys, resvae_ray, resvae_ray.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_status_is_told_without_torch_and_ray():
    code = "import sys, resvae_ray.search.run; print([name for name in ('torch', 'ray') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_can_be_had():
    for name in resvae_ray.__all__:
        assert getattr(resvae_ray, name) is not None
    with pytest.raises(AttributeError, match="no_such"):
        resvae_ray.no_such  # noqa: B018
