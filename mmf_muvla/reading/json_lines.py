"""Files with a JSON object a line: annotations, histories, records."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mmf_muvla.errors import InputError
from mmf_muvla.reading.json_values import check_record, parse_json

MAX_LINE_BYTES = 2**20
"""The longest line; the published annotations have some thousand bytes a line."""
_CHUNK = 2**16


def read_json_lines(
    path: str | Path,
    *,
    remedy: str = "Mend or remove the line",
    leave_out: Callable[[InputError], None] | None = None,
    advance: Callable[[int], object] | None = None,
    may_end_in_half: bool = False,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of a file, never more than ``MAX_LINE_BYTES`` of it in memory; empty lines are passed over.

    Args:
        path: the file, UTF-8, with or without a byte order mark; gzipped if its name ends in ``.gz``.
        remedy: what the user can do about a damaged line.
        leave_out: takes the error of a damaged line, which is left out; without it the error is raised.
        advance: is told the number of bytes of every line, for a progress bar.
        may_end_in_half: a last line without its line end may be damaged: a process was killed while it wrote it.

    Yields:
        The number of the line, from 1, and its object.

    Raises:
        InputError: the file is missing or not a whole gzip file, or a line is too long, not UTF-8, not JSON, or no
            object of usable values.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "no such file", "Check the path")
    try:
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            for number, (length, line, is_whole) in enumerate(_lines(file), 1):
                if advance is not None:
                    advance(length)
                if line is not None and not line.strip():
                    continue
                try:
                    record = _parse(line, number, f"{path}, line {number}", remedy)
                except InputError as error:
                    if may_end_in_half and not is_whole:
                        return
                    if leave_out is None:
                        raise
                    leave_out(error)
                else:
                    yield number, record
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(str(path), f"is not a whole gzip file ({error})", "Copy it again") from error


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None, bool]]:
    """Of each line how many bytes it has, these (``None`` where they are too many), and whether it has its line end."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        length, is_short = len(line), len(line) <= MAX_LINE_BYTES
        rest = line
        while not is_short and not rest.endswith(b"\n") and (rest := file.readline(_CHUNK)):
            length += len(rest)
        yield length, line if is_short else None, rest.endswith(b"\n")


def _parse(line: bytes | None, number: int, where: str, remedy: str) -> dict[str, Any]:
    if line is None:
        raise InputError(where, f"is longer than {MAX_LINE_BYTES:,} bytes", remedy)
    try:
        record = parse_json(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except ValueError as error:  # also what is no UTF-8
        raise InputError(where, f"is not JSON ({error})", remedy) from error
    return check_record(record, where, kind="a JSON object", remedy=remedy)
