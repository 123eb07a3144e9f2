"""Pictures in tables: parquet files, and data sets as Hugging Face's library saves them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmf_muvla.detection.pictures.shards import TarShards
from mmf_muvla.detection.pictures.source import REMEDY, Listed, PictureSource, Reader
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.checks import Place

_SUFFIXES = (".parquet", ".arrow")
_IMAGE_NAMES = ("image", "img", "picture", "jpg", "jpeg", "png", "webp", "bytes")
_ID_NAMES = ("image_id", "key", "__key__", "id", "image_key", "file_name", "filename")
_ROWS_AT_ONCE = 64


class Tables(PictureSource):
    """A ``.parquet`` or ``.arrow`` file, or a folder with such files at any depth and no tar shards.

    A column of pictures has their bytes, or groups of ``bytes`` and ``path`` as Hugging Face's library writes them. An
    image's id is what the column of ids says; without one, the file's name and the row: ``train-00000/17``.
    """

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_file():
            return path.suffix in _SUFFIXES
        # Beside tar shards and pictures there may be tables of what is known of them.
        if TarShards.recognises(path):
            return False
        return any(_holds_pictures(field.type) for file in _tables_in(path) for field in _schema(file))

    def files(self) -> list[Path]:
        return self._files

    @cached_property
    def _files(self) -> list[Path]:
        return [self.path] if self.path.is_file() else _tables_in(self.path)

    def pictures(self, problems: list[BadRecord]) -> Iterator[Listed]:
        for number, file in enumerate(self._files):
            image = self._column(file)
            name = file.name if file == self.path else file.relative_to(self.path).as_posix()
            stem, row = name.rpartition(".")[0], 0
            with _explained(file):
                for group, found in _ids(file, self._id_column(file, image)):
                    for image_id in found:
                        yield Listed(f"{stem}/{row}" if image_id is None else str(image_id), [number, group, row])
                        row += 1

    def readers(self, pictures: Sequence[Listed]) -> Iterator[Reader]:
        for (number, group), chosen in groupby(pictures, key=lambda it: it.at[:2]):
            wanted = list(chosen)
            file = self._files[number]
            with _explained(file):
                for picture, value in zip(wanted, _values(file, self._column(file), group, wanted), strict=True):
                    yield self._reader(picture, value)

    def place(self, picture: Listed) -> Place:
        return Place(self._files[picture.at[0]], picture.at[2] + 1, picture.image_id)

    def _reader(self, picture: Listed, value: Any) -> Reader:
        content = value.get("bytes") if isinstance(value, dict) else value

        def read() -> bytes:
            if not isinstance(content, bytes):
                known = "only a path" if isinstance(value, dict) and value.get("path") else "nothing"
                raise self.place(picture)("row has no picture's bytes", known, REMEDY)
            return content

        return read

    def _column(self, file: Path) -> str:
        schema = _schema(file)
        if self.columns.image is not None:
            return self._named(file, "image_column", self.columns.image)
        fitting = [field.name for field in schema if _holds_pictures(field.type)]
        names = [name for name in _IMAGE_NAMES if name in fitting] or (fitting if len(fitting) == 1 else [])
        if not names:
            problem = f"has no column that is known to hold pictures (it has {', '.join(schema.names)[:200]})"
            raise InputError(str(file), problem, "Name it with image_column")
        return names[0]

    def _id_column(self, file: Path, image: str) -> str | None:
        if self.columns.image_id is not None:
            return self._named(file, "id_column", self.columns.image_id)
        schema = _schema(file)
        fitting = (name for name in _ID_NAMES if name in schema.names and _holds_ids(schema.field(name).type))
        return next(fitting, None)

    def _named(self, file: Path, option: str, name: str) -> str:
        schema = _schema(file)
        fits: Callable[[pa.DataType], bool] = _holds_pictures if option == "image_column" else _holds_ids
        if name not in schema.names or not fits(schema.field(name).type):
            wanted = "bytes of pictures" if option == "image_column" else "texts or whole numbers"
            problem = f"has no such column with {wanted} (it has {', '.join(schema.names)[:200]})"
            raise InputError(f"{option}={name}: {file}", problem, "Name one of them")
        return name


def _tables_in(folder: Path) -> list[Path]:
    """All tables, but those in which Hugging Face's library keeps what it has computed from a data set."""
    found = (Path(inner, name) for inner, _, names in os.walk(folder) for name in names if name.endswith(_SUFFIXES))
    return sorted(file for file in found if not file.name.startswith("cache-"))


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return "bytes" in [field.name for field in kind]
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _holds_ids(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)


def _schema(file: Path) -> pa.Schema:
    with _explained(file):
        if file.suffix == ".parquet":
            return pq.read_schema(file)
        with pa.memory_map(str(file)) as source, _reader_of(source) as reader:
            return reader.schema


def _ids(file: Path, column: str | None) -> Iterator[tuple[int, list[Any]]]:
    """Numbers of row groups, or of batches, and the ids of the rows in them, ``None`` where these have none."""
    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as table:
            for group in range(table.num_row_groups):
                if column is None:
                    yield group, [None] * table.metadata.row_group(group).num_rows
                else:
                    yield group, table.read_row_group(group, [column]).column(0).to_pylist()
        return
    with pa.memory_map(str(file)) as source, _reader_of(source) as reader:
        for group, batch in enumerate(_each_batch(reader)):
            yield group, [None] * len(batch) if column is None else batch.column(column).to_pylist()


def _values(file: Path, column: str, group: int, wanted: Sequence[Listed]) -> Iterator[Any]:
    """The pictures of some rows of a group."""
    rows = iter([it.at[2] for it in wanted])
    row, first = next(rows, None), 0
    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as table:
            first = sum(table.metadata.row_group(number).num_rows for number in range(group))
            for batch in table.iter_batches(_ROWS_AT_ONCE, [group], [column]):
                while row is not None and row < first + len(batch):
                    yield batch.column(0)[row - first].as_py()
                    row = next(rows, None)
                first += len(batch)
        return
    with pa.memory_map(str(file)) as source, _reader_of(source) as reader:
        for number, batch in enumerate(_each_batch(reader)):
            while number == group and row is not None:
                yield batch.column(column)[row - first].as_py()
                row = next(rows, None)
            first += len(batch)


def _reader_of(source: pa.NativeFile) -> Any:
    """Hugging Face's library writes streams; others write files."""
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source)


def _each_batch(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(str(file), f"cannot be read as a table ({error})", "Download the file again") from error
