"""Refuses text tables with quotes that open and are not meant to close, before the parser sees them.

pyarrow.csv, as most readers, takes all lines up to the next quote for one value, and text after a closing quote for a
part of it. Two descriptions that begin with a quote so become one row: the proteins between them are lost, and the
first gets the features of the last.
"""

import io
import re
from typing import Any

import numpy as np

from resvae_ray.errors import DataError

QUOTED = re.compile(rb'"(?:[^"]|"")*"')
LINE_MOST = 64 << 20  # bytes
QUOTE, NEWLINE = ord('"'), ord("\n")


class QuoteWatch(io.RawIOBase):
    """The bytes of a table, looked at while they are read.

    A quote is lone if it opens a field and does not close on its line, although this line and the next one have all
    fields of a row without it. A value of several lines does not look so.

    Args:
        raw: the bytes of the file, in an encoding with the bytes of ASCII.
        columns: of the table.
    """

    def __init__(self, raw: Any, source: str, delimiter: str, columns: int) -> None:
        super().__init__()
        self._raw, self._source = raw, source
        self._delimiter, self._between = delimiter.encode(), columns - 1
        self._rest = b""  # of a line that ends in the next block
        self._lines = 0  # that were seen
        self._opened: bytes | None = None  # the line before, if a quote in it may be lone

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`.

        Raises:
            DataError: a quote is lone; the line is named.
        """
        block = self._raw.read(len(buffer))
        buffer[: len(block)] = block
        if self._between:
            self._look_at(block)
        return len(block)

    def _look_at(self, block: bytes) -> None:
        text = self._rest + block
        end = text.rfind(b"\n") + 1 if block else len(text)
        self._rest = text[end:]
        if len(self._rest) > LINE_MOST:
            self._between, self._rest = 0, b""  # lines do not end as they do elsewhere
        if not end:
            return
        if self._opened is None and text.find(b'"', 0, end) < 0:  # nothing to look at, as in most blocks
            self._lines += text.count(b"\n", 0, end)
            return
        codes = np.frombuffer(text, np.uint8, end)
        ends = np.append(np.flatnonzero(codes == NEWLINE), [] if text[:end].endswith(b"\n") else [end]).astype(np.int64)
        starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if len(ends) else ends
        if self._opened is not None and len(ends):
            self._judge(text[: ends[0]])
        quotes = np.flatnonzero(codes == QUOTE)
        odd = np.flatnonzero((np.searchsorted(quotes, ends) - np.searchsorted(quotes, starts)) % 2)
        for line in odd.tolist():
            written = text[starts[line] : ends[line]]
            if not self._is_row(written) or not self._opens(written):
                continue
            self._opened, self._opened_at = written, self._lines + line + 1
            if line + 1 < len(ends):
                self._judge(text[starts[line + 1] : ends[line + 1]])
        self._lines += len(ends)

    def _is_row(self, line: bytes) -> bool:
        return line.count(self._delimiter) == self._between

    def _opens(self, line: bytes) -> bool:
        """Whether a field of the line begins with a quote that does not close on it."""
        place = 0
        while place <= len(line):
            if line[place : place + 1] == b'"':
                if (closed := QUOTED.match(line, place)) is None:
                    return True
                place = closed.end()
            if (place := line.find(self._delimiter, place) + 1) == 0:
                return False
        return False

    def _judge(self, following: bytes) -> None:
        opened, self._opened = self._opened, None
        if opened is not None and self._is_row(following):
            name = opened.split(self._delimiter)[0].decode(errors="replace")
            raise DataError(
                f'{self._source}: line {self._opened_at} ({name[:40]}): a quote (") begins a field and does not end '
                "it; remove such quotes, or write the table with a program that doubles them"
            )
