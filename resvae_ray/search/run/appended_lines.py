"""The lines that are appended to a file, each read once."""

import os
from collections.abc import Callable
from pathlib import Path


class AppendedLines:
    """Reads a file of lines that another process, or this one, may be writing.

    Args:
        forget: called if the file is missing or another one than before, so that all its lines are new again.

    Attributes:
        taken: the number of bytes that need not be read again.
    """

    def __init__(self, path: Path, forget: Callable[[], None]) -> None:
        self._path, self._forget = path, forget
        self.taken, self._inode = 0, -1

    def read(self) -> bytes:
        """All complete lines that are not taken yet. The last line may still be being written."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self.forget()
            return b""
        with file:
            found = os.fstat(file.fileno())
            if found.st_ino != self._inode or found.st_size < self.taken:
                self.forget()
                self._inode = found.st_ino
            file.seek(self.taken)
            content = file.read()
        return content[: content.rfind(b"\n") + 1]

    def take(self, lines: bytes) -> None:
        """Skips these lines from now on."""
        self.taken += len(lines)

    def forget(self) -> None:
        """Begins again with the first line."""
        self.taken, self._inode = 0, -1
        self._forget()
