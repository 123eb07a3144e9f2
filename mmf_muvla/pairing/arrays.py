"""Writes an array piece by piece, so that no more than a piece is in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mmf_muvla.artifacts.files import publish_file


def write_array(path: Path, pieces: Iterable[np.ndarray], dtype: type, *row: int) -> int:
    """Write pieces, one after the other, to an ``.npy`` file, and return how many rows they have.

    The file is what ``np.save`` makes of all pieces together, and appears whole or not at all.

    Args:
        path: of the file.
        pieces: arrays [any number, *row].
        dtype: of the file.
        row: the shape of a row; nothing for single numbers.
    """
    count = 0
    with publish_file(path) as temporary, temporary.open("wb") as stream:
        _write_header(stream, dtype, (0, *row))
        begin = stream.tell()
        for piece in pieces:
            stream.write(np.ascontiguousarray(piece, dtype).tobytes())
            count += len(piece)
        # A header has room for any number of rows: it does not become longer.
        stream.seek(0)
        _write_header(stream, dtype, (count, *row))
        assert stream.tell() == begin
    return count


def _write_header(stream: BinaryIO, dtype: type, shape: tuple[int, ...]) -> None:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
