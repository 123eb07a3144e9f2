"""JSON lines, read one at a time, with the number of the line in every error."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmf_muvla.datasets.tasks.conversion.values import parse_line, read_lines
from mmf_muvla.errors import InputError


def read_json_lines(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of a JSON lines file; empty lines are passed over.

    Args:
        path: the file, UTF-8; gzipped if its name ends in ``.gz``.

    Yields:
        The number of the line, from 1, and its object.

    Raises:
        InputError: the file is missing or not a whole gzip file, or a line is too long, not UTF-8, not JSON, or no
            object of usable values.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "no such file", "Check the path of the annotation file")
    try:
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            for number, _, line in read_lines(file):
                if line is None or line.strip():
                    yield number, parse_line(line, number, f"{path}, line {number}", "Mend or remove the line")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(str(path), f"is not a whole gzip file ({error})", "Copy it again") from error
