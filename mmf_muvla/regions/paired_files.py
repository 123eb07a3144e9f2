"""Reads features of one file with the predictions of another, whatever the order of the images in the two.

Subclasses say which files these are, and how a line of features is read.
"""

from __future__ import annotations

import sqlite3
import sys
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmf_muvla.artifacts.executors import Executor
from mmf_muvla.artifacts.files import fingerprint, publish_file
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord, shown
from mmf_muvla.regions.base64_rows import (
    LINES_TRIED,
    check_widths,
    decode_features,
    image_id_of,
    parse_count,
    rows_of_any_width,
    shown_id,
)
from mmf_muvla.regions.checks import FoundImage, Place
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.predicted_images import ImageMaker, PredictedSource
from mmf_muvla.regions.sources import Contents, NameIds, Shard, ShardContent, beside
from mmf_muvla.regions.sqlite_tables import open_table
from mmf_muvla.regions.tsv_lines import LONGEST_LINE, lines_in
from mmf_muvla.regions.vinvl_predictions import LONGEST_PREDICTION, PredictionPart, PredictionsFile

# What is noted of a source: where its images' predictions are.
_TABLE = "lines.sqlite"
# As many bytes are read at a time; a line has hundreds of kilobytes, or some.
_FEATURES_BUFFER, _PREDICTIONS_BUFFER = 2**22, 2**18


class PairedFiles(PredictedSource):
    """A file of features and one of predictions; an InputError where one of them is empty."""

    may_be_list = False  # see PredictionsFile

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None, features: Path, predictions: Path):
        super().__init__(
            path, options, labels, PredictionsFile(predictions, options, labels, may_be_list=self.may_be_list)
        )
        self.features_file = self.lines_file = features
        for file in (features, predictions):
            if file.stat().st_size == 0:
                raise InputError(str(file), "is empty", "Download or extract the folder again")

    @abstractmethod
    def columns(self, line: bytes, bad: Place) -> tuple[bytes, bytes, str | bytes]:
        """Image id, number of regions, and features in base64 of a line of features, or a BadRecord."""

    def fingerprint(self) -> dict[str, Any]:
        return {self.features_file.name: fingerprint(self.features_file), **super().fingerprint()}

    def prepare(self, index: Path, executor: Executor) -> Contents:
        """Read the predictions once, for their names, where images are, and what their boxes are measured in."""
        widths = check_widths(self._first_rows(), self.features_file, self.options)
        with publish_file(beside(index, _TABLE)) as file, closing(open_table(file, is_finished=False)) as table:
            table.execute("PRAGMA journal_mode = OFF")
            table.execute("CREATE TABLE lines (line INTEGER PRIMARY KEY, image_id BLOB UNIQUE, offset INTEGER)")
            contents = self.look_over(index, executor, widths, partial(self._add, table))
            table.commit()
        return contents

    def _add(self, table: sqlite3.Connection, whole: PredictionPart, part: PredictionPart) -> None:
        for number, raw_id, offset in part.lines:
            line = whole.num_lines + number
            # Of an image that occurs twice, the first counts.
            if not table.execute("INSERT OR IGNORE INTO lines VALUES (?, ?, ?)", (line, raw_id, offset)).rowcount:
                image_id = raw_id.decode("utf-8", "replace")
                bad = Place(self.predictions.path, number, image_id)
                part.problems.append(bad("image id occurs twice", image_id))

    def shards(self, index: Path) -> Iterator[Shard]:
        return self.shards_of(self.features_file)

    def read(self, shard: Shard, index: Path, names: NameIds) -> ShardContent:
        start, end = shard
        content = ShardContent()
        with (
            closing(open_table(beside(index, _TABLE), is_finished=True)) as table,
            self.features_file.open("rb", buffering=_FEATURES_BUFFER) as features,
            self.predictions.path.open("rb", buffering=_PREDICTIONS_BUFFER) as predictions,
        ):
            reader = _ImageReader(self, self.maker(index, names), table, predictions, content.found)
            for number, (_, line) in enumerate(lines_in(features, start, end, LONGEST_LINE), start=1):
                content.add(reader.read, number, line)
        return content

    def leftovers(self, index: Path, found: np.ndarray) -> Iterator[BadRecord]:
        used = np.zeros(found.max(initial=0) + 1, bool)
        used[found] = True
        with (
            closing(open_table(beside(index, _TABLE), is_finished=True)) as table,
            self.predictions.path.open("rb") as predictions,
        ):
            for line, raw_id, offset in table.execute("SELECT line, image_id, offset FROM lines ORDER BY line"):
                if line < len(used) and used[line]:
                    continue
                image_id = shown(raw_id[:80].decode("utf-8", "replace"))
                bad = Place(self.predictions.path, line, image_id)
                if self.predictions.has_no_objects(_prediction_at(predictions, offset)):
                    yield bad.without_regions(f"no objects, and no line of {self.features_file.name}")
                else:
                    value = f"no line of {self.features_file.name} starts with {image_id}"
                    yield bad("image has predictions but no features", value)

    def _first_rows(self) -> Iterator[np.ndarray]:
        bad = Place(self.features_file, None, "")
        with self.features_file.open("rb") as file:
            for _, line in islice(lines_in(file, 0, sys.maxsize, LONGEST_LINE), LINES_TRIED):
                try:
                    _, digits, text = self.columns(line, bad)
                    rows = rows_of_any_width(parse_count(digits, bad), text)
                except BadRecord:
                    continue
                if rows is not None:
                    yield rows


@dataclass(frozen=True)
class _ImageReader:
    """Puts together what the two files say of an image."""

    source: PairedFiles
    maker: ImageMaker
    table: sqlite3.Connection
    predictions: BinaryIO
    found: list[int]  # the lines of predictions that have been asked for

    def read(self, number: int, line: bytes) -> FoundImage:
        """Read a line of features."""
        source, predictions = self.source, self.maker.predictions
        raw_id = line.rstrip(b"\r\n").partition(b"\t")[0]
        where = self.table.execute("SELECT line, offset FROM lines WHERE image_id = ?", (raw_id,)).fetchone()
        if where:
            self.found.append(where[0])
        image_id = shown_id(raw_id)
        bad = Place(source.features_file, number, image_id)
        brief = replace(bad, image_id=image_id[:80])
        if len(line) >= LONGEST_LINE:
            raise brief("line is too long", f"{len(line)} bytes or more")
        raw_id, digits, text = source.columns(line, brief)
        image_id_of(raw_id, brief)
        matrix = decode_features(parse_count(digits, brief), text, source.options, brief)
        if where is None:
            if not len(matrix):
                raise bad.without_regions(f"0 regions, and no line of {predictions.path.name}")
            value = f"no usable line of {predictions.path.name} starts with {image_id}"
            raise bad("image has features but no predictions", value)
        prediction = predictions.parse(
            _prediction_at(self.predictions, where[1]), Place(predictions.path, where[0], image_id)
        )
        return self.maker.make(prediction, matrix, bad)


def _prediction_at(predictions: BinaryIO, offset: int) -> bytes:
    """What stands behind the image id of the line at an offset."""
    predictions.seek(offset)
    return predictions.readline(LONGEST_PREDICTION).partition(b"\t")[2]
