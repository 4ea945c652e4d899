"""The mark of a folder that a job is writing: what it makes of what. No reader takes the folder for complete."""

import json
from collections.abc import Mapping
from typing import Any

from resvae_ray.errors import UsageError
from resvae_ray.files.place import Place
from resvae_ray.names import UPLOADING

COMMAND, SOURCES = "command", "sources"


def begin(folder: Place, command: Mapping[str, Any], sources: Mapping[str, Any]) -> None:
    """Marks the folder, or resumes what the same command has begun; files made of other sources are removed.

    Args:
        command: all that determines the result beside `sources`, as JSON has it.

    Raises:
        UsageError: something else is there.
    """
    known = require_own(folder, command)
    if known is not None and known.get(SOURCES) != sources:
        remove_files(folder)
    (folder / UPLOADING).write_json({COMMAND: command, SOURCES: sources})


def require_own(folder: Place, command: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of the mark, if the same command has begun to write the folder; None if nothing is there.

    Raises:
        UsageError: something else is there.
    """
    mark = folder / UPLOADING
    known = _read(mark) if mark.is_file() else None
    if known is None:
        folder.refuse_existing()
    elif known.get(COMMAND) != json.loads(json.dumps(command)):
        raise UsageError(
            f"{folder}: holds a part of what another command began to write; remove it, or choose another name"
        )
    return known


def remove_files(folder: Place) -> None:
    """Removes what the job has made so far."""
    for name in sorted(folder.file_names() - {UPLOADING}):
        (folder / name).unlink(missing_ok=True)


def finish(folder: Place) -> None:
    """Says that the folder is complete."""
    (folder / UPLOADING).unlink(missing_ok=True)


def _read(mark: Place) -> dict[str, Any] | None:
    """None for the mark of an upload, which is not JSON."""
    try:
        content = json.loads(mark.read_text())
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
