"""Files of lines that are read in ranges of bytes, by several processes, and may be damaged."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

# Of a line with the features of an image. No image has so much, and an image of the longest line still fits into 200 MB
# several times over while it is read; a damaged file can have gigabytes without a line's end.
LONGEST_LINE = 32 * 2**20
# So much of a file of features is read in one go; of features with fewer numbers less, so that it is not of very many
# images: the arrays of one take kilobytes, however short.
BYTES_PER_PIECE = 16 * 2**20
SHORT_FEATURES = 256
_BOM = b"\xef\xbb\xbf"
_CHUNK = 2**22


def piece_bytes(feature_dim: int, most: int = BYTES_PER_PIECE) -> int:
    """How much of a file of features is read in one go: ``most``, unless they are short."""
    return min(most, BYTES_PER_PIECE * feature_dim // SHORT_FEATURES)


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
    while (offset := file.tell()) < end and (line := file.readline(longest)):
        if len(line) == longest and not line.endswith(b"\n"):
            _skip_line(file, end)
        yield offset, line


def _skip_line(file: BinaryIO, end: int) -> None:
    """Go to the next line, or to where it is known that none begins before ``end``."""
    while file.tell() < end and (chunk := file.readline(2**20)):
        if chunk.endswith(b"\n"):
            return


def count_lines(file: Path) -> int:
    """How many lines a file has; the last need not end with a line break."""
    count, last = 0, b"\n"
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


def first_lines(file: Path, count: int) -> Iterator[bytes]:
    """The first lines that are not empty, without their line breaks; of a long one its beginning."""
    with file.open("rb") as content:
        lines = (line.rstrip(b"\r\n") for _, line in lines_in(content, 0, sys.maxsize, _CHUNK))
        yield from islice((line for line in lines if line.strip()), count)


def tsv_files(path: Path) -> list[Path]:
    """The file, or the TSV files of a folder, by name; also ``X.tsv.0`` and the like."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if ".tsv" in file.name and file.is_file())
    return [path]
