"""Packages that only some verbs need, and that an extra of this package brings."""

from importlib.util import find_spec

from resvae_ray.errors import UsageError


def require(extra: str, *packages: str) -> None:
    """Says how to get the packages of an extra, before work begins that would fail without them.

    Raises:
        UsageError: one of them is not installed.
    """
    for package in packages:
        if find_spec(package) is None:
            raise UsageError(f'{package} is not installed; get it with: pip install "resvae-ray[{extra}]"')
