"""Packages that only some verbs or formats need, and that an extra of this package brings."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from resvae_ray.errors import UsageError


def how_to_get(extra: str) -> str:
    """The command that brings the packages of an extra."""
    return f'get it in the checkout with: pip install --constraint constraints.txt ".[{extra}]"'


def require(extra: str, *packages: str) -> None:
    """Says how to get the packages of an extra, before work begins that would fail without them.

    Raises:
        UsageError: one of them is not installed.
    """
    for package in packages:
        if find_spec(package) is None:
            raise UsageError(f"{package} is not installed; {how_to_get(extra)}")


def module_to_read(source: str, name: str) -> ModuleType:
    """The module `name` of the extra `import`, which is needed to read `source`.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise UsageError(f"{source}: reading it needs {name}; {how_to_get('import')}") from None
