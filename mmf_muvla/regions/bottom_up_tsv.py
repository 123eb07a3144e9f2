"""Reads the TSV files of bottom-up-attention, which have no classes.

A line has the image's id, width, height and number of regions, and in base64 boxes, float32 [n, 4] in pixels of the
image, and features, float32 [n, d].
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmf_muvla.artifacts.executors import Executor
from mmf_muvla.artifacts.files import fingerprint
from mmf_muvla.errors import InputError
from mmf_muvla.regions.base64_rows import (
    LINES_TRIED,
    ROWS_TRIED,
    check_widths,
    decode_base64,
    decode_features,
    image_id_of,
    parse_count,
    rows_of_any_width,
    shown_id,
)
from mmf_muvla.regions.checks import FoundImage, Place
from mmf_muvla.regions.image_records import ImageRecord
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.sources import Contents, NameIds, RegionSource, Shard, ShardContent, without_classes
from mmf_muvla.regions.tsv_lines import (
    LONGEST_LINE,
    byte_ranges,
    count_lines,
    first_lines,
    lines_in,
    piece_bytes,
    tsv_files,
)

_BUFFER = 2**22


class BottomUpTsv(RegionSource):
    """A file, or a folder with one; an InputError where there are several.

    Attributes:
        columns: what the columns are, by the names that the extractor gives them.
        arrays: those that are numbers in base64, other than boxes and features: the key of a record, and their type.
    """

    columns: ClassVar[tuple[str, ...]] = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
    arrays: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        super().__init__(path, options, labels)
        files = self._files(path)
        if len(files) > 1:
            named = ", ".join(file.name for file in files[:3])
            raise InputError(str(path), f"has several files of the same format: {named}", "Name one, or a list of them")
        self.file = self.lines_file = files[0]

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return bool(cls._files(path))

    @classmethod
    def _files(cls, path: Path) -> list[Path]:
        return [file for file in tsv_files(path) if _count_columns(file) == len(cls.columns)]

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.file)

    def prepare(self, index: Path, executor: Executor) -> Contents:
        check_widths(self._first_rows(), self.file, self.options)
        num_lines = count_lines(self.file)
        if not self.arrays:
            return without_classes(num_lines, [])
        objects, attributes = map(sorted, self.names())
        return Contents(num_lines, objects, attributes, [])

    def shards(self, index: Path) -> Iterator[Shard]:
        return byte_ranges(self.file, piece_bytes(self.feature_dim))

    def read(self, shard: Shard, index: Path, names: NameIds) -> ShardContent:
        start, end = shard
        content = ShardContent()
        with self.file.open("rb", buffering=_BUFFER) as file:
            for number, (_, line) in enumerate(lines_in(file, start, end, LONGEST_LINE), start=1):
                content.add(self._read_line, number, line, names)
        return content

    def _read_line(self, number: int, line: bytes, names: NameIds) -> FoundImage:
        texts = line.rstrip(b"\r\n").split(b"\t")
        bad = Place(self.file, number, shown_id(texts[0], 80))
        if len(line) >= LONGEST_LINE:
            raise bad("line is too long", f"{len(line)} bytes or more")
        if len(texts) != len(self.columns):
            raise bad(f"line has not {len(self.columns)} columns", f"it has {len(texts)}")
        bad = Place(self.file, number, image_id_of(texts[0], bad))
        row = dict(zip(self.columns, texts, strict=True))
        return self._record(row, bad).read(self.options, self.labels, names)

    def _record(self, row: dict[str, bytes], bad: Place) -> ImageRecord:
        count = parse_count(row["num_boxes"], bad)
        width, height = (_side(row, name, bad) for name in self.columns if name.endswith(("_w", "_h")))
        if self.columns[1].endswith("_h"):
            width, height = height, width
        info: dict[str, Any] = {
            "image_width": width,
            "image_height": height,
            "num_boxes": count,
            "bbox": _array(row, "boxes", "<f4", 4 * count, bad).reshape(count, 4),
        }
        for name, (key, dtype) in self.arrays.items():
            info[key] = _array(row, name, dtype, count, bad)
        return ImageRecord(decode_features(count, row["features"], self.options, bad), info, bad, bad)

    def _first_rows(self) -> Iterator[np.ndarray]:
        with self.file.open("rb") as file:
            for _, line in islice(lines_in(file, 0, sys.maxsize, LONGEST_LINE), LINES_TRIED):
                row = dict(zip(self.columns, line.rstrip(b"\r\n").split(b"\t"), strict=False))
                count = row.get("num_boxes", b"")
                if count.isdigit() and len(count) < 10 and "features" in row:
                    rows = rows_of_any_width(int(count), row["features"])
                    if rows is not None:
                        yield rows


def _count_columns(file: Path) -> int:
    """How many columns the first line has that begins as all such lines do: with an id and a size."""
    for line in first_lines(file, ROWS_TRIED):
        texts = line.split(b"\t")
        if len(texts) > 4 and texts[1].isdigit() and texts[2].isdigit():
            return len(texts)
    return 0


def _side(row: dict[str, bytes], name: str, bad: Place) -> int:
    digits = row[name]
    if not digits.isdigit() or len(digits) > 9 or not int(digits):
        raise bad(f"{name} is not a size in pixels", repr(digits[:40]))
    return int(digits)


def _array(row: dict[str, bytes], name: str, dtype: str, size: int, bad: Place) -> np.ndarray:
    numbers = decode_base64(row[name], name, dtype, bad)
    if len(numbers) != size:
        value = f"{numbers.nbytes} bytes, expected {size * numbers.itemsize}"
        raise bad(f"{name} have the wrong number of bytes", value)
    return numbers
