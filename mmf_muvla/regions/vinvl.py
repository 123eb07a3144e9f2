"""Reads folders of detector output in the format that VinVL publishes its features in.

``features.tsv``: ``image_id \\t number of regions \\t base64(float32 [n, d] or [n, d + 6])``; the six further numbers
are x1/W, y1/H, x2/W, y2/H and the box's size, relative to the image as well.

``predictions.tsv``: ``image_id \\t JSON`` with ``image_h``, ``image_w`` and ``objects``, each of which has ``rect``
(x1, y1, x2, y2), ``class`` (a name, or with a label map a number), ``conf`` and perhaps ``attributes``.

``rect`` cannot be trusted: in some of the published folders it is in the pixels of the image that the detector saw,
whereas ``image_h`` and ``image_w`` are those of the original. The relative numbers can. Where rows have none, it is
decided for the whole folder what ``rect`` is measured in; see :mod:`mmf_muvla.regions.rect_scale`.

Other files of the folder are not needed: a shard is a range of bytes, whose lines are found by looking.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np

from mmf_muvla.artifacts.files import fingerprint, publish_file, read_json, write_json
from mmf_muvla.artifacts.workers import ordered_map
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord, shown
from mmf_muvla.regions.detection import (
    DAMAGED_FILE,
    Contents,
    Detection,
    Shard,
    ShardContent,
    allowed_overshoot,
    as_half,
    finish_detection,
    refuse_feature_size,
    relative_boxes,
    rename,
    rows_end_with_box,
    without_regions,
)
from mmf_muvla.regions.label_map import LabelMap, is_text
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.records import id_problem
from mmf_muvla.regions.rect_scale import (
    REMEDY,
    Scale,
    ScaleEvidence,
    possible_scales,
    prescribed_scale,
    relative_rect,
    unknown_scale,
)

FEATURES_FILE, PREDICTIONS_FILE = "features.tsv", "predictions.tsv"
_BYTES_PER_SHARD = 16 * 2**20
# No image has so much, and an image of the longest lines still fits into 200 MB several times over while it is read; a
# damaged file can have gigabytes without a line's end.
_LONGEST_LINE, _LONGEST_PREDICTION = 32 * 2**20, 10 * 2**20
# JSON takes up to thirty times its length in memory where it is made of nothing but brackets and commas.
_MOST_JSON_VALUES = 500_000
# So many rows tell what rows of a folder are like; they are looked for among so many lines.
_ROWS_TRIED, _LINES_TRIED = 16, 1000
# How far two descriptions of a box may be from each other: pixels, and a share of the largest side.
_SAME_BOX_PIXELS, _SAME_BOX_SHARE = 2.0, 0.005
# As many bytes are read at a time; a line has hundreds of kilobytes, or some.
_FEATURES_BUFFER, _PREDICTIONS_BUFFER = 2**22, 2**18
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class _Prediction:
    """A line of predictions.tsv."""

    size: tuple[int, int]
    rects: np.ndarray
    names: list[str]
    attributes: list[str | None]
    confidence: np.ndarray


class VinvlFolder:
    """A folder of detector output; see :class:`~mmf_muvla.regions.detection.RegionSource`.

    Args:
        path: the folder.
        options: how to read it.
        labels: names of classes, for predictions that have numbers.

    Raises:
        InputError: the folder or one of its files is not there or is empty.
    """

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None):
        self.path = path
        self.options = options
        self.labels = labels
        self.features_file = _find_file(path, FEATURES_FILE)
        self.predictions_file = _find_file(path, PREDICTIONS_FILE)
        self.lines_file = self.features_file

    def fingerprint(self) -> dict[str, Any]:
        return {file.name: fingerprint(file) for file in (self.features_file, self.predictions_file)}

    def prepare(self, index: Path, num_workers: int) -> Contents:
        """Read ``predictions.tsv`` once, for its names, where its images are, and what its boxes are measured in."""
        needs_scale = self._look_at_rows()
        lines = _PredictionLines(ScaleEvidence(possible_scales(self.options)))
        shards = _byte_ranges(self.predictions_file, _BYTES_PER_SHARD)
        for part in ordered_map(partial(_index_predictions, self), shards, num_workers):
            lines.add(part)
        rows = lines.as_array()
        # Of an image that occurs twice, the first counts.
        rows, problems = self._without_duplicates(rows, lines.problems)
        columns = {name: rows[name] for name in _INDEX_DTYPE.names or ()}
        for name, column in {**columns, "used": np.zeros(len(rows), bool)}.items():
            with publish_file(_index_file(index, name)) as path, path.open("wb") as file:
                np.save(file, column)
        remark = self._note_scale(index, lines.evidence, needs_scale)
        return Contents(lines.count, sorted(lines.object_names), sorted(lines.attribute_names), problems, remark)

    def shards(self, index: Path) -> Iterator[Shard]:
        return _byte_ranges(self.features_file, _BYTES_PER_SHARD)

    def reader(self, index: Path) -> VinvlReader:
        return VinvlReader(self, index)

    def mark(self, index: Path, found: np.ndarray) -> None:
        used = np.load(_index_file(index, "used"), mmap_mode="r+")
        used[found] = True
        used.flush()

    def leftovers(self, index: Path) -> Iterator[BadRecord]:
        unused = np.flatnonzero(~np.load(_index_file(index, "used")))
        offsets, lines = (np.load(_index_file(index, name), mmap_mode="r")[unused] for name in ("offset", "line"))
        with self.predictions_file.open("rb") as predictions:
            for row in np.argsort(lines):
                predictions.seek(offsets[row])
                raw_id, _, text = predictions.readline(_LONGEST_PREDICTION).partition(b"\t")
                image_id = shown(raw_id[:80].decode("utf-8", "replace"))
                bad = partial(self.bad_prediction, int(lines[row]), image_id)
                if _has_no_objects(text):
                    yield without_regions(bad, f"no objects, and no line of {FEATURES_FILE}")
                else:
                    yield bad(
                        "image has predictions but no features", f"no line of {FEATURES_FILE} starts with {image_id}"
                    )

    def bad_prediction(
        self, line: int, image_id: str, reason: str, value: str, remedy: str = DAMAGED_FILE
    ) -> BadRecord:
        return BadRecord(self.predictions_file, line, image_id, reason, value, remedy)

    def class_name(self, label: Any) -> str | None:
        """The name of a class, given as a name or as a number; ``None`` where it is neither."""
        if isinstance(label, int) and not isinstance(label, bool) and self.labels:
            label = self.labels.object_name(label)
        if not isinstance(label, str) or not label.strip() or not is_text(label):
            return None
        return rename(label, self.options.rename)

    def _look_at_rows(self) -> bool:
        """Look at the first rows: whether some have no box of their own.

        Raises:
            InputError: all of them have another number of features than expected.
        """
        dim = self.options.feature_dim
        widths: Counter[int] = Counter()
        with_box = 0
        with self.features_file.open("rb") as file:
            size = self.features_file.stat().st_size
            for _, line in islice(_lines(file, 0, size, _LONGEST_LINE), _LINES_TRIED):
                matrix = _rows_of_any_width(line)
                if matrix is not None:
                    widths[matrix.shape[1]] += 1
                    with_box += rows_end_with_box(matrix)
                if widths.total() == _ROWS_TRIED:
                    break
        if widths and not {dim, dim + 6} & set(widths):
            found, count = widths.most_common(1)[0]
            raise refuse_feature_size(self.features_file, found, with_box >= count, self.options)
        return dim in widths

    def _note_scale(self, index: Path, evidence: ScaleEvidence, needs_scale: bool) -> str:
        """Decide what ``rect`` is measured in, note it, and say it.

        Raises:
            InputError: it cannot be known or is no pixels, and there are boxes that it is needed for.
        """
        if evidence.is_relative() and needs_scale:
            raise relative_rect(self.predictions_file)
        prescribed = prescribed_scale(self.options)
        scale = None if evidence.is_relative() else prescribed or evidence.decide()
        if scale is None and needs_scale:
            raise unknown_scale(self.path, str(evidence))
        note = {"scale": None if scale is None else asdict(scale), "evidence": str(evidence)}
        write_json(_scale_file(index), note)
        if not needs_scale:
            return "rows have boxes of their own, which count; rect is compared with them"
        if prescribed:
            return f"rect is in {scale}, as region_options.rect_scale says"
        return f"rect is in {scale}, decided from {evidence}"

    def _without_duplicates(
        self, rows: np.ndarray, problems: Iterable[BadRecord]
    ) -> tuple[np.ndarray, list[BadRecord]]:
        """Drop later lines of equal ids; rows are sorted by digest, and lines of equal digests by line."""
        same = np.flatnonzero(rows["digest"][1:] == rows["digest"][:-1])
        keep = np.ones(len(rows), bool)
        duplicates = []
        known: set[bytes] = set()
        with self.predictions_file.open("rb") as predictions:
            for position in same.tolist():
                earlier, later = (_id_of(predictions, rows["offset"][row]) for row in (position, position + 1))
                if position == 0 or rows["digest"][position - 1] != rows["digest"][position]:
                    known = {earlier}
                if later in known:
                    keep[position + 1] = False
                    image_id = later.decode("utf-8", "replace")
                    line = int(rows["line"][position + 1])
                    duplicates.append(self.bad_prediction(line, image_id, "image id occurs twice", image_id))
                known.add(later)
        return rows[keep], sorted([*problems, *duplicates], key=lambda problem: problem.line or 0)


class VinvlReader:
    """Reads the images of a folder; see :class:`~mmf_muvla.regions.detection.ShardReader`."""

    def __init__(self, folder: VinvlFolder, index: Path):
        self._folder = folder
        self._options = folder.options
        self._digests, self._offsets, self._line_numbers = (
            np.load(_index_file(index, name), mmap_mode="r").view(np.ndarray) for name in _INDEX_DTYPE.names or ()
        )
        note = read_json(_scale_file(index))
        assert note is not None
        self._scale = None if note["scale"] is None else Scale(_pair(note["scale"]["detector_size"]))
        self._evidence: str = note["evidence"]

    def read(self, shard: Shard) -> ShardContent:
        images: list[Detection | BadRecord] = []
        found = []
        start, end = shard
        with (
            self._folder.features_file.open("rb", buffering=_FEATURES_BUFFER) as features,
            self._folder.predictions_file.open("rb", buffering=_PREDICTIONS_BUFFER) as predictions,
        ):
            for number, (_, line) in enumerate(_lines(features, start, end, _LONGEST_LINE), start=1):
                try:
                    row = self._find(predictions, _first_column(line))
                    if row is not None:
                        found.append(row)
                    images.append(self._read(number, line, predictions, row))
                except BadRecord as problem:
                    images.append(problem)
        return ShardContent(images, np.array(found, np.int64))

    def _find(self, predictions: BinaryIO, image_id: bytes) -> int | None:
        """The row of the index that an image has."""
        digest = _digest(image_id)
        row = int(np.searchsorted(self._digests, np.uint64(digest)))
        while row < len(self._digests) and int(self._digests[row]) == digest:
            if _id_of(predictions, self._offsets[row]) == image_id:
                return row
            row += 1
        return None

    def _read(self, number: int, line: bytes, predictions: BinaryIO, row: int | None) -> Detection:
        image_id, matrix = self._parse_features(number, line)
        bad = partial(self._bad, number, image_id)
        if row is None:
            if not len(matrix):
                raise without_regions(bad, f"0 regions, and no line of {PREDICTIONS_FILE}")
            raise bad(
                "image has features but no predictions", f"no usable line of {PREDICTIONS_FILE} starts with {image_id}"
            )
        prediction = self._parse_prediction(predictions, row, image_id)
        if len(matrix) != len(prediction.names):
            raise bad(
                "features and predictions differ in the number of regions",
                f"{len(matrix)} and {len(prediction.names)}",
            )
        if not len(matrix):
            raise without_regions(bad, "0 regions")
        features, relative = np.split(matrix, [self._options.feature_dim], axis=1)
        half = as_half(np.ascontiguousarray(features), bad)
        if relative.size:
            boxes = relative_boxes(relative, prediction.size, bad)
            mended = _has_other_scale(prediction.rects, boxes, prediction.size, bad)
        elif self._scale is None:
            raise bad("it is not known what rect is measured in", self._evidence, REMEDY)
        else:
            boxes = prediction.rects / self._scale.factor(prediction.size)
            mended = self._scale.detector_size is not None
        return finish_detection(
            image_id,
            prediction.size,
            half,
            boxes,
            prediction.names,
            prediction.attributes,
            prediction.confidence,
            mended,
            self._options,
            bad,
        )

    def _parse_features(self, number: int, line: bytes) -> tuple[str, np.ndarray]:
        raw_id = _first_column(line)
        # No id is so long; a line without tabs can be.
        image_id = raw_id[:4096].decode("utf-8", "replace")
        bad = partial(self._bad, number, image_id[:80])
        if len(line) >= _LONGEST_LINE:
            raise bad("line is too long", f"{len(line)} bytes or more")
        num_columns = line.count(b"\t") + 1
        if num_columns != 3:
            raise bad("line has not three columns", f"it has {num_columns}")
        problem = id_problem(image_id)
        if problem or "\ufffd" in image_id:
            raise bad("image id cannot be used", problem or repr(raw_id[:80]))
        first, second = line.find(b"\t"), line.rfind(b"\t")
        digits = line[first + 1 : second]
        if not digits.isdigit() or len(digits) > 9:
            raise bad("number of regions is not a number", repr(digits[:40]))
        count = int(digits)
        end = len(line) - len(line[-2:]) + len(line[-2:].rstrip(b"\r\n"))
        # A view: these are hundreds of kilobytes.
        column = memoryview(line)[second + 1 : end]
        try:
            raw = base64.b64decode(column, validate=True)
        except binascii.Error as error:
            raise bad("features are not base64", f"{error}, after {len(column)} characters") from error
        dim = self._options.feature_dim
        for width in (dim, dim + 6):
            if len(raw) == count * width * 4:
                return image_id, np.frombuffer(raw, "<f4").reshape(count, width)
        expected = " or ".join(
            f"{count * width * 4} ({count} regions x {width} numbers x 4)" for width in (dim, dim + 6)
        )
        raise bad(
            "features have the wrong number of bytes",
            f"{len(raw)} bytes, expected {expected}",
            f"{DAMAGED_FILE}; or set region_options.feature_dim",
        )

    def _parse_prediction(self, predictions: BinaryIO, row: int, image_id: str) -> _Prediction:
        bad = partial(self._folder.bad_prediction, int(self._line_numbers[row]), image_id)
        predictions.seek(self._offsets[row])
        try:
            content = _parse_json(predictions.readline(_LONGEST_PREDICTION).partition(b"\t")[2])
        except (ValueError, RecursionError) as error:
            raise bad("predictions are not JSON", str(error)[:200]) from error
        if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
            raise bad("predictions have no list 'objects'", shown(content))
        width, height = content.get("image_w"), content.get("image_h")
        if not (_is_side(width) and _is_side(height)):
            value = f"{shown(width, quoted=True)} x {shown(height, quoted=True)}"
            raise bad("image_w and image_h are not a size in pixels", value)
        rects, names, attributes, confidence = [], [], [], []
        for number, entry in enumerate(content["objects"]):
            if not isinstance(entry, dict):
                raise bad("object is not a JSON object", f"object {number}: {shown(entry)}")
            rect, label, conf = entry.get("rect"), entry.get("class"), entry.get("conf")
            if not (isinstance(rect, list) and len(rect) == 4 and all(_is_number(side) for side in rect)):
                raise bad("rect is not four numbers", f"object {number}: {shown(rect)}")
            name = self._folder.class_name(label)
            if name is None:
                value = f"object {number}: {shown(label, quoted=True)}"
                raise bad("class is not a name", value, self._remedy_for(label))
            if not (_is_number(conf) and 0 <= conf <= 1):
                raise bad("conf is not between 0 and 1", f"object {number}: {shown(conf, quoted=True)}")
            try:
                attributes.append(_first_attribute(entry))
            except TypeError as error:
                value = f"object {number}: {shown(entry['attributes'], quoted=True)}"
                raise bad("attributes are not a list of words", value) from error
            rects.append(rect)
            names.append(name)
            confidence.append(conf)
        return _Prediction(
            size=(int(width), int(height)),
            rects=np.array(rects, np.float64).reshape(-1, 4),
            names=names,
            attributes=attributes,
            confidence=np.array(confidence, np.float32),
        )

    def _remedy_for(self, label: Any) -> str:
        if not isinstance(label, int):
            return DAMAGED_FILE
        if self._folder.labels is None:
            return "Say with region_options.label_map what the numbers stand for"
        return "Check region_options.label_map and label_offset"

    def _bad(self, line: int, image_id: str, reason: str, value: str, remedy: str = DAMAGED_FILE) -> BadRecord:
        return BadRecord(self._folder.features_file, line, image_id, reason, value, remedy)


# --- where the predictions of an image are: rows of an array, sorted by a digest of the image's id

_INDEX_DTYPE = np.dtype([("digest", "<u8"), ("offset", "<i8"), ("line", "<u4")])


def _index_file(index: Path, column: str) -> Path:
    # A file a column, because searching takes a column that lies together.
    return index.with_name(f"{index.name}-{column}.npy")


def _scale_file(index: Path) -> Path:
    return index.with_name(f"{index.name}-scale.json")


def _pair(sides: list[int] | None) -> tuple[int, int] | None:
    return (sides[0], sides[1]) if sides else None


@dataclass
class _PredictionPart:
    """What a range of predictions.tsv holds; lines count from its first line, as 1."""

    rows: np.ndarray
    num_lines: int
    object_names: set[str]
    attribute_names: set[str]
    problems: list[BadRecord]
    evidence: ScaleEvidence


@dataclass
class _PredictionLines:
    """What the ranges of predictions.tsv hold together."""

    evidence: ScaleEvidence
    count: int = 0
    object_names: set[str] = field(default_factory=set)
    attribute_names: set[str] = field(default_factory=set)
    problems: list[BadRecord] = field(default_factory=list)
    _rows: list[np.ndarray] = field(default_factory=list)

    def add(self, part: _PredictionPart) -> None:
        part.rows["line"] += self.count
        self._rows.append(part.rows)
        for problem in part.problems:
            assert problem.line is not None
            problem.line += self.count
            self.problems.append(problem)
        self.count += part.num_lines
        self.object_names |= part.object_names
        self.attribute_names |= part.attribute_names
        self.evidence.counts += part.evidence.counts

    def as_array(self) -> np.ndarray:
        rows = np.concatenate([np.zeros(0, _INDEX_DTYPE), *self._rows])
        self._rows.clear()
        return rows[np.argsort(rows["digest"], kind="stable")]


def _index_predictions(folder: VinvlFolder, _: None, shard: tuple[int, int]) -> _PredictionPart:
    evidence = ScaleEvidence(possible_scales(folder.options))
    part = _PredictionPart(np.zeros(0, _INDEX_DTYPE), 0, set(), set(), [], evidence)
    rows = []
    with folder.predictions_file.open("rb") as predictions:
        for offset, line in _lines(predictions, *shard, _LONGEST_PREDICTION):
            part.num_lines += 1
            raw_id, tab, text = line.partition(b"\t")
            if tab:
                rows.append((_digest(raw_id), offset, part.num_lines))
                _collect(folder, text, part)
            else:
                reason, value = "line is not 'image id, tab, JSON'", f"{line[:40]!r}"
                part.problems.append(folder.bad_prediction(part.num_lines, "", reason, value))
    part.rows = np.array(rows, _INDEX_DTYPE)
    return part


def _collect(folder: VinvlFolder, text: bytes, part: _PredictionPart) -> None:
    # What is damaged here comes up again, and is reported, when the image's features are read.
    try:
        content = _parse_json(text)
        objects = content["objects"]
        names = [folder.class_name(entry["class"]) for entry in objects]
        attributes = [_first_attribute(entry) for entry in objects]
        rects = [entry["rect"] for entry in objects if all(map(_is_number, entry["rect"]))]
        ends = [(rect[2], rect[3]) for rect in rects]
        size = content["image_w"], content["image_h"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return
    part.object_names.update(name for name in names if name)
    part.attribute_names.update(name for name in attributes if name)
    if ends and all(map(_is_side, size)):
        part.evidence.add_image((int(size[0]), int(size[1])), max(x for x, _ in ends), max(y for _, y in ends))


def _has_no_objects(text: bytes) -> bool:
    try:
        content = _parse_json(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("objects") == []


def _parse_json(text: bytes) -> Any:
    """Parse JSON of a size that memory is sure to hold.

    Raises:
        ValueError: it is no JSON, or has too many values.
        RecursionError: it is nested too deeply.
    """
    if sum(map(text.count, (b",", b"[", b"{", b":"))) > _MOST_JSON_VALUES:
        raise ValueError(f"more than {_MOST_JSON_VALUES:,} values")
    return json.loads(text)


def _digest(image_id: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(image_id, digest_size=8).digest(), "little")


def _id_of(predictions: BinaryIO, offset: int) -> bytes:
    """The image id of the line at an offset of predictions.tsv."""
    predictions.seek(offset)
    return predictions.readline(_LONGEST_PREDICTION).partition(b"\t")[0]


# --- lines


def _byte_ranges(file: Path, size: int) -> Iterator[tuple[int, int]]:
    total = file.stat().st_size
    for start in range(0, total, size):
        yield start, min(start + size, total)


def _lines(file: BinaryIO, start: int, end: int, longest: int) -> Iterator[tuple[int, bytes]]:
    """The lines that begin in a range of bytes, and where; without the mark that a file may begin with.

    Of a line longer than ``longest`` bytes, only the begin is given.
    """
    if start == 0:
        file.seek(0)
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
    else:
        # One byte earlier, so that a line that begins right at the start counts.
        file.seek(start - 1)
        _skip_line(file, end)
    while (offset := file.tell()) < end:
        line = file.readline(longest)
        if len(line) == longest and not line.endswith(b"\n"):
            _skip_line(file, end)
        yield offset, line


def _rows_of_any_width(line: bytes) -> np.ndarray | None:
    """A line's rows, whatever their width; ``None`` where the line has none."""
    _, _, rest = line.partition(b"\t")
    digits, _, column = rest.partition(b"\t")
    if not digits.isdigit() or len(digits) > 9 or int(digits) == 0:
        return None
    try:
        raw = base64.b64decode(column.rstrip(b"\r\n"), validate=True)
    except binascii.Error:
        return None
    if not raw or len(raw) % (4 * int(digits)):
        return None
    return np.frombuffer(raw, "<f4").reshape(int(digits), -1)


def _skip_line(file: BinaryIO, end: int) -> None:
    """Go to the next line, or to where it is known that none begins before ``end``."""
    while file.tell() < end and (chunk := file.readline(2**20)):
        if chunk.endswith(b"\n"):
            return


def _first_column(line: bytes) -> bytes:
    end = line.find(b"\t")
    return line.rstrip(b"\r\n") if end < 0 else line[:end]


# --- boxes


def _has_other_scale(rects: np.ndarray, boxes: np.ndarray, size: tuple[int, int], bad: Any) -> bool:
    """Compare ``rect`` with the trusted box: the same but for rounding, or the same but for one factor an axis.

    One of the two may have been clipped to the image.
    """
    factors = np.ones(4)
    for axis in (0, 1):
        rect_sides, box_sides = rects[:, axis::2], boxes[:, axis::2]
        inside = (box_sides > 1) & (box_sides < size[axis] - 1)
        if inside.any():
            rect_sides, box_sides = rect_sides[inside], box_sides[inside]
        factors[axis::2] = (rect_sides * box_sides).sum() / max((box_sides**2).sum(), 1e-9)
    limits = np.array([*size, *size], np.float64)
    # The detector's image has whole pixels, so that its two axes have slightly different factors.
    allowed = _SAME_BOX_PIXELS + _SAME_BOX_SHARE * np.abs(rects).max()
    distances = [_distances(rects, boxes, limits, factor) for factor in (np.ones(4), np.maximum(factors, 0))]
    for distance, other in zip(distances, (False, True), strict=True):
        if (distance <= allowed).all():
            return other
    # In the scale in which most fit, the one that fits least.
    region = int(max(distances, key=lambda distance: (distance <= allowed).sum()).argmax())
    raise bad(
        "rect and the features' box are different boxes",
        f"region {region}: rect {np.round(rects[region], 1).tolist()}, box {np.round(boxes[region], 1).tolist()}",
        "The two files do not belong together, or their regions are in different orders",
    )


def _distances(rects: np.ndarray, boxes: np.ndarray, limits: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """How far ``rect`` and the other box, times a factor, are from each other, [n]; not counting what was clipped."""
    inside = np.clip(rects, 0, limits * factor) - np.clip(boxes * factor, 0, limits * factor)
    # Further out than what is clipped, they are compared again.
    low, high = -allowed_overshoot(limits), limits + allowed_overshoot(limits)
    outside = np.clip(rects, None, low * factor) - np.clip(boxes, None, low) * factor
    outside += np.clip(rects, high * factor, None) - np.clip(boxes, high, None) * factor
    return (np.abs(inside) + np.abs(outside)).max(axis=1)


def _find_file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "nothing"
        raise InputError(
            str(folder), f"has no {name} (it has {found})", f"Name a folder with {FEATURES_FILE} and {PREDICTIONS_FILE}"
        )
    if path.stat().st_size == 0:
        raise InputError(str(path), "is empty", "Download or extract the folder again")
    return path


def _is_number(value: Any) -> TypeGuard[float]:
    # The bound also refuses NaN, infinity and integers that no float can hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12


def _is_side(value: Any) -> TypeGuard[float]:
    return _is_number(value) and value == int(value) and 0 < value < 2**31


def _first_attribute(entry: dict[str, Any]) -> str | None:
    """The detector's best attribute of an object; most have none."""
    attributes: Sequence[Any] | None = entry.get("attributes")
    if not attributes:
        return None
    if not isinstance(attributes, list) or not isinstance(attributes[0], str) or not is_text(attributes[0]):
        raise TypeError("attributes")
    return attributes[0].strip() or None
