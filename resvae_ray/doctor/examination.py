"""Examines the machine that it runs on; independent of Ray."""

import os
import platform
import socket
import stat
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from resvae_ray._version import __version__
from resvae_ray.errors import ResVAERayError, first_line
from resvae_ray.files.place import locate

PACKAGES = ("ray", "torch", "optuna", "numpy", "pandas", "pyarrow", "safetensors")
TOKEN_FILE = Path(".ray/auth_token")  # in the home folder, where Ray looks for it


@dataclass(frozen=True)
class Examination:
    """Attributes:
    node: its host name.
    versions: of Python, this package and those whose data or weights machines hand to each other.
    torch_gpus: those that torch can use.
    token_asked: whether the Ray there asks for a token.
    token_readable: the file with the token, if others than its owner can read it.
    write_error: why nothing can be written to the storage; empty where that was not tried or went well.
    """

    node: str
    versions: dict[str, str]
    torch_gpus: int
    token_asked: bool
    token_readable: str = ""
    write_error: str = ""


class Examiner:
    """Examines the machine on which it is made.

    Args:
        name: of the machine among all that are examined.
        storage: a folder for the time of the examination, below the one to try; empty if there is none to try.
    """

    def __init__(self, name: str, storage: str) -> None:
        self._name = name
        self._storage = storage

    def examine(self) -> Examination:
        """Also leaves a file of this machine in the storage."""
        return Examination(
            node=socket.gethostname(),
            versions={"python": platform.python_version(), "resvae_ray": __version__} | _versions(),
            torch_gpus=_torch_gpus(),
            token_asked=os.environ.get("RAY_AUTH_MODE", "").lower() == "token",
            token_readable=_readable_token(),
            write_error=self._write() if self._storage else "",
        )

    def seen(self) -> list[str]:
        """The names of the machines whose files this one reads in the storage."""
        from pyarrow.fs import FileSelector, FileType

        filesystem, folder = locate(self._storage)
        found = filesystem.get_file_info(FileSelector(folder, allow_not_found=True))
        return sorted(_content(filesystem, info.path) for info in found if info.type == FileType.File)

    def clock(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def _write(self) -> str:
        try:
            filesystem, folder = locate(self._storage)
            with filesystem.open_output_stream(f"{folder}/{self._name}") as file:
                file.write(self._name.encode())
        except (OSError, ResVAERayError) as error:
            return first_line(error).rpartition("Detail: ")[2]
        return ""


def _content(filesystem, path: str) -> str:  # noqa: ANN001 (a pyarrow.fs.FileSystem, which is loaded late)
    with filesystem.open_input_stream(path) as file:
        return file.read().decode()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _torch_gpus() -> int:
    # To a process that has asked for none, Ray may show none.
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]
    import torch

    return torch.cuda.device_count()


def _readable_token() -> str:
    try:
        path = Path.home() / TOKEN_FILE
        open_to_others = bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
        reachable = all(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in path.parents)
    except (OSError, RuntimeError):  # a RuntimeError: this user has no home
        return ""
    return str(path) if open_to_others and reachable else ""
