"""The sizes of images, where detector output does not say them.

A file has ``image id \\t size`` a line, and the size is ``[{"height": 480, "width": 640}]``, the same without brackets,
or ``480 640``: height and width, as scene_graph_benchmark writes ``X.hw.tsv`` beside its images. Or it is ``.json``: an
object of such sizes by image id.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.errors import InputError
from mmf_muvla.reading.json_values import parse_json
from mmf_muvla.reading.problems import shown
from mmf_muvla.regions.sqlite_tables import open_table
from mmf_muvla.regions.tsv_lines import lines_in

_SUFFIX = "hw.tsv"
# An id has at most 511 bytes, a size some tens.
_LONGEST_LINE = 2**16
_TOO_LARGE = 2**31
_FORMS = '[{"height": 480, "width": 640}] or 480 640, height first'
REMEDY = (
    "Name a file of the images' sizes with region_options.image_sizes: the hw.tsv that scene_graph_benchmark reads, or "
    f"lines of image id, tab, and {_FORMS}"
)


def sizes_beside(file: Path) -> list[Path]:
    """The files of sizes in the folder of detector output: of ``X.label.tsv``, ``X.hw.tsv`` alone if it exists."""
    own = file.with_name(f"{file.name.partition('.')[0]}.{_SUFFIX}")
    if own.is_file():
        return [own]
    others = (it for it in file.parent.iterdir() if it.name == _SUFFIX or it.name.endswith(f".{_SUFFIX}"))
    return sorted(it for it in others if it.is_file())


class ImageSizes:
    """Sizes by image id, in a table that is made once, and read by every worker. It can be pickled."""

    def __init__(self, source: Path, table: Path):
        self.source = source
        self._table = table
        self._connection: sqlite3.Connection | None = None

    def __reduce__(self) -> tuple[type[ImageSizes], tuple[Path, Path]]:
        return (type(self), (self.source, self._table))

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def make_table(self) -> None:
        """Read the file; an InputError where it is no list of sizes, or says two of an image."""
        with publish_file(self._table) as file, closing(_connect(file, is_finished=False)) as table:
            table.execute("PRAGMA journal_mode = OFF")
            table.execute("CREATE TABLE sizes (image_id BLOB PRIMARY KEY, width INTEGER, height INTEGER) WITHOUT ROWID")
            for where, image_id, size in _entries(self.source):
                if table.execute("INSERT OR IGNORE INTO sizes VALUES (?, ?, ?)", (image_id, *size)).rowcount:
                    continue
                known = table.execute("SELECT width, height FROM sizes WHERE image_id = ?", (image_id,)).fetchone()
                if known != size:
                    problem = f"image {shown(image_id.decode('utf-8', 'replace'))} has the sizes {known} and {size}"
                    raise InputError(where, problem, "Leave the wrong one out")
            table.commit()

    def get(self, image_id: bytes) -> tuple[int, int] | None:
        """Width and height of an image."""
        if self._connection is None:
            self._connection = _connect(self._table, is_finished=True)
        query = "SELECT width, height FROM sizes WHERE image_id = ?"
        return self._connection.execute(query, (image_id,)).fetchone()


def _entries(file: Path) -> Iterator[tuple[str, bytes, tuple[int, int]]]:
    """Where each image is named, its id, width and height."""
    if not file.is_file():
        raise InputError(str(file), "no such file", "Correct region_options.image_sizes")
    return _entries_of_json(file) if file.suffix == ".json" else _entries_of_lines(file)


def _entries_of_json(file: Path) -> Iterator[tuple[str, bytes, tuple[int, int]]]:
    try:
        content = parse_json(file.read_bytes())
    except ValueError as error:
        raise InputError(str(file), f"is not JSON ({shown(str(error), 80)})", REMEDY) from error
    if not isinstance(content, dict):
        raise InputError(str(file), f"is {shown(content)}, not an object of sizes by image id", REMEDY)
    for key, size in content.items():
        where = f"{file} (image {shown(key)})"
        yield where, key.encode("utf-8", "surrogatepass"), _size_of(size, where)


def _entries_of_lines(file: Path) -> Iterator[tuple[str, bytes, tuple[int, int]]]:
    with file.open("rb") as lines:
        for number, (_, line) in enumerate(lines_in(lines, 0, file.stat().st_size, _LONGEST_LINE), start=1):
            where = f"{file}, line {number}"
            image_id, tab, size = line.rstrip(b"\r\n").partition(b"\t")
            if not image_id or not tab:
                value = shown(line[:60].decode("utf-8", "replace"), quoted=True)
                raise InputError(where, f"is {value}, not an image id, a tab and a size", REMEDY)
            yield where, image_id, _size_of(_parse_size(size), where)


def _parse_size(text: bytes) -> Any:
    sides = text.split()
    if len(sides) == 2 and all(side.isdigit() and len(side) < 12 for side in sides):
        return {"height": int(sides[0]), "width": int(sides[1])}
    with suppress(ValueError):
        return parse_json(text)
    return text.decode("utf-8", "replace")


def _size_of(value: Any, where: str) -> tuple[int, int]:
    size = value[0] if isinstance(value, list) and len(value) == 1 else value
    width, height = (size.get("width"), size.get("height")) if isinstance(size, dict) else (None, None)
    if not (type(width) is int and type(height) is int and 0 < min(width, height) <= max(width, height) < _TOO_LARGE):
        raise InputError(where, f"size is {shown(value, quoted=True)}, not {_FORMS}", REMEDY)
    return width, height


def _connect(file: Path, is_finished: bool) -> sqlite3.Connection:
    return open_table(file, is_finished, check_same_thread=False)  # any thread may close it
