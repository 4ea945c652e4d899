"""Libraries that only some formats need: what `pip install 'resvae-ray[import]'` adds."""

from importlib import import_module
from types import ModuleType

from resvae_ray.errors import UsageError


def require(name: str, source: str) -> ModuleType:
    """The library `name`, which is needed to read `source`.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise UsageError(f"{source}: reading it needs {name}: pip install 'resvae-ray[import]'") from None
