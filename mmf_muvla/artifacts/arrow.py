"""Arrow IPC files: written batch by batch, read as NumPy views of the mapped file without copying it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmf_muvla.errors import InputError


class TableWriter:
    """Writes a table to an uncompressed Arrow IPC file, a batch at a time; ``metadata`` is stored with the schema."""

    def __init__(self, path: Path, schema: pa.Schema, metadata: dict[str, str] | None = None):
        self._schema = schema.with_metadata(metadata or {})
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, self._schema)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._sink.close()

    def write(self, *columns: Any) -> None:
        """Write one batch: per column of the schema, what ``pyarrow.array`` takes, or a ready Arrow array."""
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))


def list_array(rows: Sequence[np.ndarray], dtype: np.dtype | type) -> pa.ListArray:
    """A list column out of one NumPy array a row."""
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    values = np.concatenate([np.asarray(row, dtype) for row in rows]) if len(rows) else np.zeros(0, dtype)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def read_batches(files: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    """The batches of Arrow IPC files, one after the other; an InputError where one is missing or not whole.

    Each is read into memory of its own: of a mapped file, all that has been read counts as memory of this process.
    """
    for path in files:
        with _opened(path) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def count_batches(files: Iterable[Path]) -> int:
    """How many batches Arrow IPC files have together; an InputError as for :func:`read_batches`."""
    count = 0
    for path in files:
        with _opened(path) as reader:
            count += reader.num_record_batches
    return count


@contextmanager
def _opened(path: Path) -> Iterator[pa.ipc.RecordBatchFileReader]:
    try:
        with pa.OSFile(str(path), "rb") as file:
            yield pa.ipc.open_file(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(str(path), f"cannot be read as an Arrow file ({error})", "Build it again") from error


class ListColumn:
    """A list column of numbers of one batch: row ``i`` is ``values[offsets[i] : offsets[i + 1]]``."""

    def __init__(self, array: pa.ListArray):
        self.offsets = _offsets(array)
        self.values: np.ndarray = array.values.to_numpy(zero_copy_only=True)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]


class StringColumn:
    """A string column of one batch."""

    def __init__(self, array: pa.StringArray):
        characters = array.buffers()[2]
        self._offsets = _offsets(array)
        self._characters = memoryview(b"" if characters is None else characters)

    def __getitem__(self, row: int) -> str:
        return str(self._characters[self._offsets[row] : self._offsets[row + 1]], "utf-8")


class MappedTable:
    """A memory-mapped Arrow IPC file of ``len()`` rows; an InputError where it is missing or not whole."""

    def __init__(self, path: Path):
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self.batches = [self._reader.get_batch(index) for index in range(self._reader.num_record_batches)]
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(str(path), f"cannot be read as an Arrow file ({error})", "Build it again") from error
        self.schema: pa.Schema = self._reader.schema
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self.batches)]).tolist()

    def __len__(self) -> int:
        return self._starts[-1]

    def locate(self, row: int) -> tuple[int, int]:
        """The batch that holds a row, and the row's number inside that batch; IndexError where there is no such row."""
        if not 0 <= row < self._starts[-1]:
            raise IndexError(f"row {row} of {self._starts[-1]}")
        batch = bisect_right(self._starts, row) - 1
        return batch, row - self._starts[batch]

    def lists(self, name: str) -> list[ListColumn]:
        """Views of a list column, one a batch."""
        return [ListColumn(batch.column(name)) for batch in self.batches]

    def strings(self, name: str) -> list[StringColumn]:
        """Views of a string column, one a batch."""
        return [StringColumn(batch.column(name)) for batch in self.batches]

    def blocks(self, name: str) -> Iterator[list[Any]]:
        """A column's values as Python objects, a batch at a time."""
        for batch in self.batches:
            yield batch.column(name).to_pylist()


def _offsets(array: pa.Array) -> np.ndarray:
    buffer = array.buffers()[1]
    if buffer is None or buffer.size == 0:
        return np.zeros(len(array) + 1, np.int32)
    return np.frombuffer(buffer, np.int32, count=len(array) + 1, offset=array.offset * 4)
