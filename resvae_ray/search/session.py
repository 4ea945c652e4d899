"""What is worth knowing of a search later: when it was, with which versions, on what."""

import platform
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from resvae_ray import names
from resvae_ray._version import __version__
from resvae_ray.search.resources import Node, Slots

PACKAGES = ("torch", "ray", "optuna", "numpy", "pyarrow", "pandas", "safetensors")


def about_search() -> dict[str, Any]:
    """Of a search that begins: the name of its study, who began it, and when (UTC)."""
    return {"study": f"resvae-{uuid.uuid4().hex[:12]}", "resvae_ray": __version__, "created": _utc()}


def about_session(slots: Slots, nodes: Sequence[Node]) -> dict[str, Any]:
    """Of a session, the first or one that resumes: its start (UTC), versions, machine, nodes and slots."""
    return {
        "started": _utc(),
        "resvae_ray": __version__,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": {
            "host": platform.node(),
            "system": platform.platform(),
            "nodes": [{name: node[name] for name in ("CPU", "GPU", "memory") if name in node} for node in nodes],
        },
        "slots": asdict(slots),
    }


def _utc() -> str:
    return time.strftime(names.TIME_FORMAT, time.gmtime())
