"""Files of lines that are read in ranges of bytes, by several processes, and may be damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BOM = b"\xef\xbb\xbf"


def byte_ranges(file: Path, size: int) -> Iterator[tuple[int, int]]:
    """Begin and end of ranges of ``size`` bytes; the last may be shorter."""
    total = file.stat().st_size
    for start in range(0, total, size):
        yield start, min(start + size, total)


def lines_in(file: BinaryIO, start: int, end: int, longest: int) -> Iterator[tuple[int, bytes]]:
    """The lines that begin in a range of bytes, and where; without the mark that a file may begin with.

    Of a line longer than ``longest`` bytes, only the beginning is given.
    """
    # One byte earlier, so that a line that begins right at the start counts.
    file.seek(max(start - 1, 0))
    if start:
        _skip_line(file, end)
    elif file.read(len(_BOM)) != _BOM:
        file.seek(0)
    while (offset := file.tell()) < end:
        line = file.readline(longest)
        if len(line) == longest and not line.endswith(b"\n"):
            _skip_line(file, end)
        yield offset, line


def _skip_line(file: BinaryIO, end: int) -> None:
    """Go to the next line, or to where it is known that none begins before ``end``."""
    while file.tell() < end and (chunk := file.readline(2**20)):
        if chunk.endswith(b"\n"):
            return
