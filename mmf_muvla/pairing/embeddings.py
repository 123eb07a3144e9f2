"""Embeddings on disk: ``.npy`` parts of equal length, read in blocks, never mapped, so that memory stays small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmf_muvla.artifacts.parts import part_files
from mmf_muvla.errors import InputError

PART_NAME = "embeddings"


def shards_of(count: int, size: int) -> list[range]:
    """Numbers from 0 to ``count``, ``size`` at a time; the last may be fewer."""
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


class Embeddings:
    """Rows of ``dimensions`` numbers, in parts.

    Args:
        parts: arrays of the rows, or ``.npy`` files of them, at least one; all but the last have equally many.

    Raises:
        InputError: a file is missing, or is not whole.
    """

    def __init__(self, parts: Sequence[Path] | Sequence[np.ndarray]):
        self._parts = parts
        first = self._part(0)
        self._rows_per_part = len(first)
        self._count = self._rows_per_part * (len(parts) - 1) + len(self._part(-1))
        self._dtype = first.dtype
        self.dimensions: int = first.shape[1]

    @classmethod
    def of_folder(cls, folder: Path) -> Embeddings:
        """What the stage *embed* has written; an ``InputError`` where there is nothing."""
        parts = part_files(folder, PART_NAME, ".npy")
        if not parts:
            raise InputError(str(folder), "has no embeddings", "Build the corpus again")
        return cls(parts)

    def __len__(self) -> int:
        return self._count

    def blocks(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """The rows from ``start`` to ``stop``, about ``size`` at a time: whole parts, or pieces of a single one.

        Yields:
            The number of the first row, and the rows, as they are stored [n, dimensions].
        """
        stop = len(self) if stop is None else stop
        if len(self._parts) == 1:
            rows = self._part(0)
            yield from ((first, rows[first : min(first + size, stop)]) for first in range(start, stop, size))
            return
        per_block = max(1, size // self._rows_per_part)
        for number in range(start // self._rows_per_part, -(-stop // self._rows_per_part), per_block):
            parts = [self._part(index) for index in range(number, min(number + per_block, len(self._parts)))]
            first = number * self._rows_per_part
            block = parts[0] if len(parts) == 1 else np.concatenate(parts)
            yield max(first, start), block[max(0, start - first) : stop - first]

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, as they are stored [n, dimensions]; cheapest where ``rows`` are sorted."""
        found = np.empty((len(rows), self.dimensions), self._dtype)
        part_of_row = rows // self._rows_per_part
        for part in np.unique(part_of_row):
            here = part_of_row == part
            found[here] = self._part(part)[rows[here] - part * self._rows_per_part]
        return found

    def shard(self, rows: range) -> Embeddings:
        """Consecutive rows, numbered from 0."""
        return self if len(rows) == len(self) else _Shard(self, rows)

    def _part(self, number: int) -> np.ndarray:
        part = self._parts[number]
        if not isinstance(part, Path):
            return part
        try:
            return np.load(part, allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise InputError(str(part), f"cannot be read as embeddings ({error})", "Build the corpus again") from error


class _Shard(Embeddings):
    def __init__(self, whole: Embeddings, rows: range):
        self._whole, self._rows = whole, rows
        self.dimensions = whole.dimensions

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        first, last = self._rows.start + start, self._rows.stop if stop is None else self._rows.start + stop
        for number, block in self._whole.blocks(size, first, last):
            yield number - self._rows.start, block

    def gather(self, rows: np.ndarray) -> np.ndarray:
        return self._whole.gather(rows + self._rows.start)
