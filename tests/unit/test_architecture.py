"""Imports point down only, and importing the package is cheap."""

import ast
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import resvae_ray

ROOT = Path(resvae_ray.__file__).parent
# Each layer may import itself and the layers below it.
LAYERS = [
    ["_version", "errors", "extras", "names", "progress", "seeds", "stop_signals", "scenarios", "wording"],
    ["config", "config_field", "config_file"],
    ["files"],
    ["data"],
    ["model"],
    ["on_ray"],
    ["doctor", "embed", "encode", "evaluation", "jobs", "search"],
    ["reporting"],
    ["flow", "estimator"],
    ["demo"],
    ["cli"],
    ["__main__"],
]
MAY_IMPORT_RAY = {"on_ray", "doctor/nodes", "embed/workers", "search"}  # rooms, or single modules of them
SIDE_BY_SIDE = ("doctor", "embed", "encode", "evaluation", "jobs", "search")  # of one layer; none imports another


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
            if room in SIDE_BY_SIDE and rest[0] in SIDE_BY_SIDE:
                assert room == rest[0], f"{path.name} imports {name}, which is beside it"


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules that a file imports anywhere in it, also inside a function; not what a type checker alone sees."""
    tree = ast.parse(path.read_text())
    unseen = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node not in unseen and isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node not in unseen and isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & known.keys()) or {node.module}
    own = name_of(path)
    # To import a module is to run the packages that it lies in, too.
    found |= {package for name in found for package in packages_of(name) if not own.startswith(package)}
    return found & known.keys() - {own}


def packages_of(name: str) -> list[str]:
    """The packages, from the outermost, in which a module lies."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def test_no_file_imports_itself_by_a_detour():
    known = {name_of(path): path for path in modules()}
    sorter = TopologicalSorter({name: imports_of(path, known) for name, path in known.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(error.args[1])}")


def test_no_two_files_have_one_name():
    stems = Counter(path.stem for path in modules() if path.stem != "__init__")
    assert [stem for stem, times in stems.items() if times > 1] == []


def test_no_two_public_types_have_one_name():
    types = Counter(
        node.name if isinstance(node, ast.ClassDef) else node.targets[0].id  # pyright: ignore[reportAttributeAccessIssue]
        for path in modules()
        for node in ast.parse(path.read_text()).body
        if (isinstance(node, ast.ClassDef) and not node.name.startswith("_")) or is_type_alias(node)
    )
    assert [name for name, times in types.items() if times > 1] == []


def is_type_alias(node: ast.stmt) -> bool:
    """`Progress = Callable[…]`: a public name in the spelling of types, set to a subscript or a union of types."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
        return False
    name = node.targets[0].id
    return name[0].isupper() and not name.isupper() and isinstance(node.value, ast.Subscript | ast.BinOp)


def test_every_module_says_what_it_is_for():
    for path in [*modules(), ROOT / "__init__.py"]:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_importing_the_package_loads_neither_torch_nor_ray():
    heavy = ("torch", "ray", "pandas", "pyarrow", "transformers", "huggingface_hub")
    code = f"import sys, resvae_ray, resvae_ray.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_status_is_printed_without_torch_and_ray():
    code = "import sys, resvae_ray.search.run.run; print([name for name in ('torch', 'ray') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_can_be_had():
    for name in resvae_ray.__all__:
        assert getattr(resvae_ray, name) is not None
    with pytest.raises(AttributeError, match="module 'resvae_ray' has no attribute 'encode_feature'") as caught:
        resvae_ray.encode_feature  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("encode_feature", resvae_ray), "Python suggests encode_features"


def test_type_checkers_see_the_names_that_a_program_gets():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: node.module for node in imports for alias in node.names}
    assert seen == {name: f"resvae_ray.{place}" for name, place in resvae_ray._PLACES.items()}


def test_no_module_can_take_the_place_of_a_public_name():
    """`import resvae_ray.report` would set `resvae_ray.report` to the module, over the function of that name."""
    below = {path.stem for path in ROOT.glob("*.py")} | {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert below & set(resvae_ray.__all__) == set()


def test_a_name_is_looked_up_once():
    code = "import resvae_ray as rr; rr.Config; print('Config' in vars(rr), sorted(rr.__all__) == dir(rr))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"
