"""Reads folders of detector output in the format that VinVL publishes its features in.

``features.tsv``: ``image_id \\t number of regions \\t base64(float32 [n, d] or [n, d + 6])``; the six further numbers
are x1/W, y1/H, x2/W, y2/H and the box's size, relative to the image as well. In some of the published folders, the
boxes of ``predictions.tsv`` are in pixels of the image that the detector saw, so that these six count. Where rows have
none, it is decided for the whole folder what those boxes are measured in (:mod:`mmf_muvla.regions.rect_scale`).
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmf_muvla.artifacts.files import fingerprint, publish_file, read_json, write_json
from mmf_muvla.artifacts.workers import ordered_map
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord, shown
from mmf_muvla.regions import boxes, checks, rect_scale
from mmf_muvla.regions.checks import FoundImage, Place
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.rect_scale import Scale, ScaleEvidence
from mmf_muvla.regions.regions import Regions, id_problem
from mmf_muvla.regions.sources import Contents, NameIds, RegionSource, Shard, ShardContent, beside, first_names
from mmf_muvla.regions.tsv_lines import byte_ranges, lines_in
from mmf_muvla.regions.vinvl_predictions import LONGEST_PREDICTION, PredictionPart, PredictionsFile, has_no_objects

FEATURES_FILE, PREDICTIONS_FILE = "features.tsv", "predictions.tsv"
# What is noted of a folder: where its images' predictions are, and what ``rect`` is measured in.
_TABLE, _SCALE = "lines.sqlite", "scale.json"
_BYTES_PER_SHARD = 16 * 2**20
# Of predictions.tsv, workers take a quarter of that at a time, so that there is some for each of them.
_LOOKS_PER_SHARD = 4
# No image has so much, and an image of the longest line still fits into 200 MB several times over while it is read; a
# damaged file can have gigabytes without a line's end.
_LONGEST_LINE = 32 * 2**20
# So many rows tell what rows of a folder are like; they are looked for among so many lines.
_ROWS_TRIED, _LINES_TRIED = 16, 1000
# As many bytes are read at a time; a line has hundreds of kilobytes, or some.
_FEATURES_BUFFER, _PREDICTIONS_BUFFER = 2**22, 2**18


class VinvlFolder(RegionSource):
    """A folder of detector output; an InputError where one of its files is not there or is empty."""

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        super().__init__(path, options, labels)
        self.features_file = self.lines_file = _find_file(path, FEATURES_FILE)
        self.predictions = PredictionsFile(_find_file(path, PREDICTIONS_FILE), options, labels)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return (path / FEATURES_FILE).exists() or (path / PREDICTIONS_FILE).exists()

    def fingerprint(self) -> dict[str, Any]:
        return {file.name: fingerprint(file) for file in (self.features_file, self.predictions.path)}

    def prepare(self, index: Path, num_workers: int) -> Contents:
        """Read ``predictions.tsv`` once, for its names, where its images are, and what its boxes are measured in."""
        needs_scale = self._look_at_rows()
        whole = PredictionPart(ScaleEvidence(rect_scale.possible_scales(self.options)))
        shards = byte_ranges(self.predictions.path, -(-_BYTES_PER_SHARD // _LOOKS_PER_SHARD))
        with publish_file(beside(index, _TABLE)) as file, closing(_open_table(file)) as table:
            table.execute("PRAGMA journal_mode = OFF")
            table.execute("CREATE TABLE lines (line INTEGER PRIMARY KEY, image_id BLOB UNIQUE, offset INTEGER)")
            arguments = (self.predictions.path, self.options, self.labels)
            for part in ordered_map(PredictionsFile.look_at, shards, num_workers, PredictionsFile, arguments):
                self._add(whole, part, table)
            table.commit()
        scale, remark = rect_scale.choose_scale(self.options, whole.evidence, needs_scale, self.predictions.path)
        size = (scale and scale.detector_size) or ()
        note = {"is_known": scale is not None, "detector_size": size, "evidence": str(whole.evidence)}
        write_json(beside(index, _SCALE), note)
        problems = sorted(whole.problems, key=lambda problem: problem.line or 0)
        return Contents(whole.num_lines, sorted(whole.object_names), sorted(whole.attribute_names), problems, remark)

    def _add(self, whole: PredictionPart, part: PredictionPart, table: sqlite3.Connection) -> None:
        for problem in part.problems:
            assert problem.line is not None
            problem.line += whole.num_lines
        whole.problems += part.problems
        for number, raw_id, offset in part.lines:
            line = whole.num_lines + number
            # Of an image that occurs twice, the first counts.
            if not table.execute("INSERT OR IGNORE INTO lines VALUES (?, ?, ?)", (line, raw_id, offset)).rowcount:
                image_id = raw_id.decode("utf-8", "replace")
                whole.problems.append(Place(self.predictions.path, line, image_id)("image id occurs twice", image_id))
        whole.num_lines += part.num_lines
        whole.object_names |= part.object_names
        whole.attribute_names |= part.attribute_names
        whole.evidence.counts += part.evidence.counts

    def shards(self, index: Path) -> Iterator[Shard]:
        return byte_ranges(self.features_file, _BYTES_PER_SHARD)

    def read(self, shard: Shard, index: Path, names: NameIds) -> ShardContent:
        start, end = shard
        note = read_json(beside(index, _SCALE))
        assert note is not None
        scale = Scale(tuple(note["detector_size"]) or None) if note["is_known"] else None
        content = ShardContent()
        with (
            closing(_open_table(beside(index, _TABLE), "&mode=ro&immutable=1")) as table,
            self.features_file.open("rb", buffering=_FEATURES_BUFFER) as features,
            self.predictions.path.open("rb", buffering=_PREDICTIONS_BUFFER) as predictions,
        ):
            reader = _ImageReader(self, names, scale, note["evidence"], table, predictions, content.found)
            for number, (_, line) in enumerate(lines_in(features, start, end, _LONGEST_LINE), start=1):
                content.add(reader.read, number, line)
        return content

    def leftovers(self, index: Path, found: np.ndarray) -> Iterator[BadRecord]:
        used = set(found.tolist())
        with (
            closing(_open_table(beside(index, _TABLE), "&mode=ro&immutable=1")) as table,
            self.predictions.path.open("rb") as predictions,
        ):
            for line, raw_id, offset in table.execute("SELECT line, image_id, offset FROM lines ORDER BY line"):
                if line in used:
                    continue
                image_id = shown(raw_id[:80].decode("utf-8", "replace"))
                bad = Place(self.predictions.path, line, image_id)
                if has_no_objects(_prediction_at(predictions, offset)):
                    yield bad.without_regions(f"no objects, and no line of {FEATURES_FILE}")
                else:
                    value = f"no line of {FEATURES_FILE} starts with {image_id}"
                    yield bad("image has predictions but no features", value)

    def _look_at_rows(self) -> bool:
        """Whether some of the first rows have no box; an InputError where all have another number of features."""
        dim = self.options.feature_dim
        with self.features_file.open("rb") as file:
            lines = islice(lines_in(file, 0, sys.maxsize, _LONGEST_LINE), _LINES_TRIED)
            images = (_rows_of_any_width(line) for _, line in lines)
            tried = list(islice((rows for rows in images if rows is not None), _ROWS_TRIED))
        widths = {rows.shape[1] for rows in tried}
        if tried and not {dim, dim + 6} & widths:
            has_box = boxes.end_with_box(tried[0])
            raise checks.refuse_feature_size(self.features_file, tried[0].shape[1], has_box, self.options)
        return dim in widths


@dataclass(frozen=True)
class _ImageReader:
    """Puts together what the two files say of an image."""

    folder: VinvlFolder
    names: NameIds
    scale: Scale | None  # of ``rect``, where that is known
    evidence: str  # why it is not
    table: sqlite3.Connection
    predictions: BinaryIO
    found: list[int]  # the lines of predictions that have been asked for

    def read(self, number: int, line: bytes) -> FoundImage:
        """Read a line of ``features.tsv``."""
        folder = self.folder
        columns = line.rstrip(b"\r\n").split(b"\t")
        where = self.table.execute("SELECT line, offset FROM lines WHERE image_id = ?", columns[:1]).fetchone()
        if where:
            self.found.append(where[0])
        # No id is so long; a line without tabs can be.
        image_id = columns[0][:4096].decode("utf-8", "replace")
        bad = Place(folder.features_file, number, image_id)
        if len(line) >= _LONGEST_LINE:
            raise replace(bad, image_id=image_id[:80])("line is too long", f"{len(line)} bytes or more")
        matrix = self._parse_features(columns, replace(bad, image_id=image_id[:80]))
        if where is None:
            if not len(matrix):
                raise bad.without_regions(f"0 regions, and no line of {PREDICTIONS_FILE}")
            value = f"no usable line of {PREDICTIONS_FILE} starts with {image_id}"
            raise bad("image has features but no predictions", value)
        source = folder.predictions
        prediction = source.parse(_prediction_at(self.predictions, where[1]), Place(source.path, where[0], image_id))
        if len(matrix) != len(prediction.names):
            counts = f"{len(matrix)} and {len(prediction.names)}"
            raise bad("features and predictions differ in the number of regions", counts)
        if not len(matrix):
            raise bad.without_regions("0 regions")
        features, relative = np.split(matrix, [folder.options.feature_dim], axis=1)
        half = checks.as_half(features, bad)
        bbox, mended = self._boxes(prediction.rects, prediction.size, relative, bad)
        regions = Regions(
            image_id,
            *prediction.size,
            image_feature_0=half,
            bbox=bbox,
            class_id=self.names.class_ids(prediction.names),
            attribute_id=self.names.attribute_ids(prediction.attributes),
            confidence=prediction.confidence,
        )
        return checks.check_image(regions, folder.options, bad, mended=mended)

    def _parse_features(self, columns: list[bytes], bad: Place) -> np.ndarray:
        if len(columns) != 3:
            raise bad("line has not three columns", f"it has {len(columns)}")
        raw_id, digits, column = columns
        image_id = raw_id[:4096].decode("utf-8", "replace")
        problem = id_problem(image_id)
        if problem or "\ufffd" in image_id:
            raise bad("image id cannot be used", problem or repr(raw_id[:80]))
        if not digits.isdigit() or len(digits) > 9:
            raise bad("number of regions is not a number", repr(digits[:40]))
        count = int(digits)
        try:
            raw = base64.b64decode(column, validate=True)
        except binascii.Error as error:
            raise bad("features are not base64", f"{error}, after {len(column)} characters") from error
        dim = self.folder.options.feature_dim
        sizes = {width: count * width * 4 for width in (dim, dim + 6)}
        if len(raw) in sizes.values():
            return np.frombuffer(raw, "<f4").reshape(count, -1 if count else dim)
        expected = " or ".join(f"{size} ({count} regions x {width} numbers x 4)" for width, size in sizes.items())
        remedy = f"{checks.DAMAGED_FILE}; or set region_options.feature_dim"
        raise bad("features have the wrong number of bytes", f"{len(raw)} bytes, expected {expected}", remedy)

    def _boxes(
        self, rects: np.ndarray, size: tuple[int, int], relative: np.ndarray, bad: Place
    ) -> tuple[np.ndarray, bool]:
        """Boxes in pixels of the image, and whether ``rect`` is in another scale."""
        if not relative.size:
            if self.scale is None:
                raise bad("it is not known what rect is measured in", self.evidence, rect_scale.REMEDY)
            return rects / self.scale.factor(size), self.scale.detector_size is not None
        trusted = checks.relative_boxes(relative, size, bad)
        is_scaled, region = boxes.compare(rects, trusted, size)
        if region is not None:
            rect, box = (np.round(it[region], 1).tolist() for it in (rects, trusted))
            value = f"region {region}: rect {rect}, box {box}"
            remedy = "The two files do not belong together, or their regions are in different orders"
            raise bad("rect and the features' box are different boxes", value, remedy)
        return trusted, is_scaled


def _open_table(file: Path, parameters: str = "") -> sqlite3.Connection:
    """Open the table that says where an image's predictions are; without locks, which not every file system has."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?nolock=1{parameters}", uri=True)


def _prediction_at(predictions: BinaryIO, offset: int) -> bytes:
    """What stands behind the image id of the line at an offset."""
    predictions.seek(offset)
    return predictions.readline(LONGEST_PREDICTION).partition(b"\t")[2]


def _rows_of_any_width(line: bytes) -> np.ndarray | None:
    """A line's rows, whatever their width; ``None`` where the line has none."""
    with suppress(ValueError, ZeroDivisionError):
        _, digits, column = line.rstrip(b"\r\n").split(b"\t", 2)
        raw = base64.b64decode(column, validate=True)
        if raw and digits.isdigit() and len(raw) % (4 * int(digits)) == 0:
            return np.frombuffer(raw, "<f4").reshape(int(digits), -1)
    return None


def _find_file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        remedy = f"Name a folder with {FEATURES_FILE} and {PREDICTIONS_FILE}"
        raise InputError(str(folder), f"has no {name} (it has {first_names(folder)})", remedy)
    if path.stat().st_size == 0:
        raise InputError(str(path), "is empty", "Download or extract the folder again")
    return path
