"""Reads folders of detector output in the format that VinVL publishes its features in.

``features.tsv``: ``image_id \\t number of regions \\t base64(float32 [n, d] or [n, d + 6])``; the six further numbers
are x1/W, y1/H, x2/W, y2/H and the box's size, relative to the image as well.

``predictions.tsv``: ``image_id \\t JSON`` with ``image_h``, ``image_w`` and ``objects``, each of which has ``rect``
(x1, y1, x2, y2), ``class``, ``conf`` and perhaps ``attributes``.

``rect`` cannot be trusted: in some of the published folders it is in the pixels of the image that the detector saw,
whereas ``image_h`` and ``image_w`` are those of the original. The relative numbers can.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from mmf_muvla.corpus.config import RegionOptions
from mmf_muvla.corpus.problems import BadRecord, SkipLog
from mmf_muvla.corpus.region_store import id_problem
from mmf_muvla.errors import InputError

# The detector's input: the short side becomes 800 pixels, unless the long side would exceed 1333.
_SHORT_SIDE = 800
_LONG_SIDE = 1333
# A box may stand out of the image by so many pixels, from rounding; it is clipped.
_TOLERANCE = 1.0
_LARGEST_HALF = float(np.finfo(np.float16).max)

_DAMAGED_FILE = "Download or extract the folder again, or leave such images out with on_bad_record=skip"
_DAMAGED_BOXES = "Check how the boxes were made, or leave such images out with on_bad_record=skip"


@dataclass(frozen=True)
class Detection:
    """What the detector says about an image, boxes made good.

    Attributes:
        image_id: the image's name.
        width, height: its size in pixels.
        features: float16 [n, d].
        boxes: x1, y1, x2, y2 in pixels, inside the image, float32 [n, 4].
        names: class names [n].
        attributes: an attribute or ``None`` [n].
        confidence: float32 [n].
        mended: whether ``rect`` was in another scale than the image.
        num_clipped: boxes that stood out of the image by up to a pixel.
        num_dropped: regions beyond ``max_regions``.
    """

    image_id: str
    width: int
    height: int
    features: np.ndarray
    boxes: np.ndarray
    names: list[str]
    attributes: list[str | None]
    confidence: np.ndarray
    mended: bool
    num_clipped: int
    num_dropped: int


@dataclass(frozen=True)
class _Prediction:
    """A line of predictions.tsv."""

    width: int
    height: int
    rects: np.ndarray
    names: list[str]
    attributes: list[str | None]
    confidence: np.ndarray


class VinvlFolder:
    """A folder of detector output. Making one reads ``predictions.tsv`` once, for its names and where its images are.

    Args:
        path: the folder.
        options: how to read it.
        skips: takes the records that cannot be used.

    Attributes:
        object_names, attribute_names: all names in the folder.

    Raises:
        InputError: the folder or one of its files is not there or is empty, or a record is bad under
            ``on_bad_record=error``.
    """

    def __init__(self, path: Path, options: RegionOptions, skips: SkipLog):
        self._features_file = _find_file(path, "features.tsv")
        self._predictions_file = _find_file(path, "predictions.tsv")
        self._options = options
        self._skips = skips
        self.object_names: set[str] = set()
        self.attribute_names: set[str] = set()
        # image id -> line number and byte offset in predictions.tsv
        self._predictions: dict[str, tuple[int, int]] = {}
        self._num_lines = 0
        self._index_predictions()

    def __len__(self) -> int:
        """How many images the folder has predictions for, damaged ones included."""
        return self._num_lines

    def detections(self, known: set[str]) -> Iterator[Detection]:
        """All images that can be used, in the order of ``features.tsv``.

        Args:
            known: image ids that came before, in other folders; those of this folder are added.
        """
        seen: set[str] = set()
        with self._features_file.open("rb") as features, self._predictions_file.open("rb") as predictions:
            for line_number, line in enumerate(features, start=1):
                image_id = line.rstrip(b"\r\n").split(b"\t", 1)[0].decode("utf-8", "replace")
                # Also where the line turns out bad: one damaged image is one problem, not two.
                duplicate = image_id in known
                if image_id:
                    known.add(image_id)
                seen.add(image_id)
                try:
                    if duplicate:
                        raise self._bad(line_number, image_id, "image id occurs twice", image_id, _DAMAGED_FILE)
                    yield self._read(line_number, line, predictions)
                except BadRecord as problem:
                    self._skips.add_bad(problem)
        for image_id, (line_number, _) in self._predictions.items():
            if image_id not in seen:
                self._skips.add_bad(
                    BadRecord(
                        self._predictions_file,
                        line_number,
                        image_id,
                        "image has predictions but no features",
                        f"no line of features.tsv starts with {image_id}",
                        _DAMAGED_FILE,
                    )
                )

    def _index_predictions(self) -> None:
        offset = 0
        with self._predictions_file.open("rb") as file:
            for line_number, line in enumerate(file, start=1):
                self._num_lines += 1
                start, offset = offset, offset + len(line)
                raw_id, tab, text = line.partition(b"\t")
                image_id = raw_id.decode("utf-8", "replace")
                reason = None
                if not tab:
                    image_id = ""
                    reason, value = "line is not 'image id, tab, JSON'", f"{line[:40]!r}"
                elif image_id in self._predictions:
                    reason, value = "image id occurs twice", image_id
                if reason:
                    self._skips.add_bad(
                        BadRecord(self._predictions_file, line_number, image_id, reason, value, _DAMAGED_FILE)
                    )
                    continue
                self._predictions[image_id] = (line_number, start)
                self._collect_names(text)
        if not self._num_lines:
            raise InputError(str(self._predictions_file), "is empty", "Download or extract the folder again")

    def _collect_names(self, text: bytes) -> None:
        # What is damaged here comes up again, and is reported, when the image's features are read.
        try:
            objects = json.loads(text)["objects"]
            names = [entry["class"] for entry in objects]
            attributes = [_first_attribute(entry) for entry in objects]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        self.object_names.update(self._class_name(name) for name in names if isinstance(name, str))
        self.attribute_names.update(name for name in attributes if name)

    def _class_name(self, name: str) -> str:
        return self._options.rename.get(name, name)

    def _read(self, line_number: int, line: bytes, predictions: Any) -> Detection:
        image_id, matrix = self._parse_features(line_number, line)
        if image_id not in self._predictions:
            raise self._bad(
                line_number,
                image_id,
                "image has features but no predictions",
                f"no usable line of predictions.tsv starts with {image_id}",
                _DAMAGED_FILE,
            )
        prediction_line, offset = self._predictions[image_id]
        predictions.seek(offset)
        prediction = self._parse_prediction(prediction_line, image_id, predictions.readline())
        if len(matrix) != len(prediction.names):
            raise self._bad(
                line_number,
                image_id,
                "features and predictions differ in the number of regions",
                f"{len(matrix)} and {len(prediction.names)}",
                _DAMAGED_FILE,
            )
        features = self._check_features(line_number, image_id, matrix[:, : self._options.feature_dim])
        relative = matrix[:, self._options.feature_dim :]
        boxes, mended = self._find_boxes(line_number, image_id, prediction, relative if relative.size else None)
        boxes, num_clipped = self._clip(line_number, image_id, prediction, boxes)

        keep = np.arange(len(boxes))
        if len(keep) > self._options.max_regions:
            # The most confident ones, in the order in which the detector gave them.
            keep = np.sort(np.argsort(-prediction.confidence, kind="stable")[: self._options.max_regions])
        return Detection(
            image_id=image_id,
            width=prediction.width,
            height=prediction.height,
            features=features[keep],
            boxes=boxes[keep].astype(np.float32),
            names=[prediction.names[index] for index in keep],
            attributes=[prediction.attributes[index] for index in keep],
            confidence=prediction.confidence[keep],
            mended=mended,
            num_clipped=num_clipped,
            num_dropped=len(boxes) - len(keep),
        )

    def _parse_features(self, line_number: int, line: bytes) -> tuple[str, np.ndarray]:
        parts = line.rstrip(b"\r\n").split(b"\t")
        image_id = parts[0].decode("utf-8", "replace")
        if len(parts) != 3:
            raise self._bad(line_number, image_id, "line has not three columns", f"it has {len(parts)}", _DAMAGED_FILE)
        problem = id_problem(image_id)
        if problem or "\ufffd" in image_id:
            raise self._bad(line_number, image_id, "image id cannot be used", problem or repr(parts[0]), _DAMAGED_FILE)
        if not parts[1].isdigit():
            raise self._bad(
                line_number, image_id, "number of regions is not a number", repr(parts[1][:40]), _DAMAGED_FILE
            )
        count = int(parts[1])
        if count == 0:
            raise self._bad(
                line_number, image_id, "image without regions", "0 regions", "Leave it out with on_bad_record=skip"
            )
        try:
            raw = base64.b64decode(parts[2], validate=True)
        except binascii.Error as error:
            value = f"{error}, after {len(parts[2])} characters"
            raise self._bad(line_number, image_id, "features are not base64", value, _DAMAGED_FILE) from error
        for width in (self._options.feature_dim, self._options.feature_dim + 6):
            if len(raw) == count * width * 4:
                return image_id, np.frombuffer(raw, "<f4").reshape(count, width)
        expected = " or ".join(
            f"{count * width * 4} ({count} regions x {width} numbers x 4)"
            for width in (self._options.feature_dim, self._options.feature_dim + 6)
        )
        raise self._bad(
            line_number,
            image_id,
            "features have the wrong number of bytes",
            f"{len(raw)} bytes, expected {expected}",
            f"{_DAMAGED_FILE}; or set region_options.feature_dim",
        )

    def _parse_prediction(self, line_number: int, image_id: str, line: bytes) -> _Prediction:
        def bad(reason: str, value: str) -> BadRecord:
            return BadRecord(self._predictions_file, line_number, image_id, reason, value, _DAMAGED_FILE)

        try:
            content = json.loads(line.partition(b"\t")[2])
        except (ValueError, RecursionError) as error:
            raise bad("predictions are not JSON", str(error)) from error
        if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
            raise bad("predictions have no list 'objects'", f"{str(content)[:60]}")
        width, height = content.get("image_w"), content.get("image_h")
        if not (_is_side(width) and _is_side(height)):
            raise bad("image_w and image_h are not a size in pixels", f"{width!r} x {height!r}")
        rects, names, attributes, confidence = [], [], [], []
        for number, entry in enumerate(content["objects"]):
            if not isinstance(entry, dict):
                raise bad("object is not a JSON object", f"object {number}: {str(entry)[:60]}")
            rect, name, conf = entry.get("rect"), entry.get("class"), entry.get("conf")
            if not (isinstance(rect, list) and len(rect) == 4 and all(_is_number(side) for side in rect)):
                raise bad("rect is not four numbers", f"object {number}: {str(rect)[:60]}")
            if not isinstance(name, str) or not name.strip():
                raise bad("class is not a name", f"object {number}: {name!r}")
            if not (_is_number(conf) and 0 <= conf <= 1):
                raise bad("conf is not between 0 and 1", f"object {number}: {conf!r}")
            try:
                attributes.append(_first_attribute(entry))
            except TypeError as error:
                raise bad("attributes are not a list of words", f"object {number}: {entry['attributes']!r}") from error
            rects.append(rect)
            names.append(self._class_name(name))
            confidence.append(conf)
        return _Prediction(
            width=int(width),
            height=int(height),
            rects=np.array(rects, np.float64).reshape(-1, 4),
            names=names,
            attributes=attributes,
            confidence=np.array(confidence, np.float32),
        )

    def _check_features(self, line_number: int, image_id: str, features: np.ndarray) -> np.ndarray:
        # Written so that NaN is caught too: it is not less than anything.
        if not np.abs(features).max() <= _LARGEST_HALF:
            region, number = np.argwhere(~(np.abs(features) <= _LARGEST_HALF))[0]
            value = features[region, number]
            reason = "feature does not fit into 16 bits" if np.isfinite(value) else "feature is not a finite number"
            raise self._bad(
                line_number, image_id, reason, f"{value} at region {region}, number {number}", _DAMAGED_FILE
            )
        return features.astype(np.float16)

    def _find_boxes(
        self, line_number: int, image_id: str, prediction: _Prediction, relative: np.ndarray | None
    ) -> tuple[np.ndarray, bool]:
        """Boxes in pixels of the original image [n, 4], and whether ``rect`` had another scale."""
        size = np.array([prediction.width, prediction.height] * 2, np.float64)
        rects = prediction.rects
        if relative is not None:
            boxes = relative[:, :4].astype(np.float64) * size
            if not np.isfinite(boxes).all():
                region = np.argwhere(~np.isfinite(boxes))[0][0]
                value = f"region {region}: {relative[region, :4].tolist()}"
                raise self._bad(line_number, image_id, "box is not finite", value, _DAMAGED_BOXES)
            return boxes, self._has_other_scale(line_number, image_id, rects, boxes)
        scale = _detector_scale(prediction.width, prediction.height)
        fits = (rects >= -_TOLERANCE).all() and (rects <= size + _TOLERANCE).all()
        fits_scaled = (rects / scale >= -_TOLERANCE).all() and (rects / scale <= size + _TOLERANCE).all()
        wanted = self._options.rect_scale
        if wanted == "detector" or (wanted == "auto" and not fits and fits_scaled):
            return rects / scale, True
        return rects, False

    def _has_other_scale(self, line_number: int, image_id: str, rects: np.ndarray, boxes: np.ndarray) -> bool:
        """Compare ``rect`` with the trusted box: the same but for rounding, or the same but for one factor an axis."""
        factors = np.ones(4)
        for axis in (0, 1):
            rect_sides, box_sides = rects[:, axis::2], boxes[:, axis::2]
            factors[axis::2] = (rect_sides * box_sides).sum() / max((box_sides**2).sum(), 1e-9)
        for factor, other in ((np.ones(4), False), (factors, True)):
            # The detector's image has whole pixels, so that its two axes have slightly different factors.
            allowed = 2 * _TOLERANCE + 0.005 * np.abs(rects).max()
            distance = np.abs(rects - boxes * factor).max(axis=1)
            if (distance <= allowed).all():
                return other
        region = int(distance.argmax())
        raise self._bad(
            line_number,
            image_id,
            "rect and the features' box are different boxes",
            f"region {region}: rect {np.round(rects[region], 1).tolist()}, box {np.round(boxes[region], 1).tolist()}",
            "The two files do not belong together, or their regions are in different orders",
        )

    def _clip(
        self, line_number: int, image_id: str, prediction: _Prediction, boxes: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """Clip boxes that stand out by a pixel; boxes further out, or of no area, are a problem."""
        size = np.array([prediction.width, prediction.height] * 2, np.float64)
        image = f"image of {prediction.width} x {prediction.height}"
        outside = ((boxes < -_TOLERANCE) | (boxes > size + _TOLERANCE)).any(axis=1)
        if outside.any():
            region = int(outside.argmax())
            value = f"region {region}: {np.round(boxes[region], 1).tolist()} in an {image}"
            raise self._bad(line_number, image_id, "box outside the image", value, _DAMAGED_BOXES)
        clipped = np.clip(boxes, 0, size)
        empty = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
        if empty.any():
            region = int(empty.argmax())
            value = f"region {region}: {np.round(boxes[region], 1).tolist()} in an {image}"
            raise self._bad(line_number, image_id, "box of no area", value, _DAMAGED_BOXES)
        # What float32 made of a box on the image's edge does not count as clipped.
        return clipped, int((np.abs(clipped - boxes) > 1e-3).any(axis=1).sum())

    def _bad(self, line_number: int, image_id: str, reason: str, value: str, remedy: str) -> BadRecord:
        return BadRecord(self._features_file, line_number, image_id, reason, value, remedy)


def _find_file(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise InputError(str(folder), "no such folder", "Name a folder with features.tsv and predictions.tsv")
    path = folder / name
    if not path.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "nothing"
        raise InputError(
            str(folder), f"has no {name} (it has {found})", "Name a folder with features.tsv and predictions.tsv"
        )
    if path.stat().st_size == 0:
        raise InputError(str(path), "is empty", "Download or extract the folder again")
    return path


def _detector_scale(width: int, height: int) -> float:
    return min(_SHORT_SIDE / min(width, height), _LONG_SIDE / max(width, height))


def _is_number(value: Any) -> TypeGuard[float]:
    # The bound also refuses NaN, infinity and integers that no float can hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12


def _is_side(value: Any) -> TypeGuard[float]:
    return _is_number(value) and value == int(value) and 0 < value < 2**31


def _first_attribute(entry: dict[str, Any]) -> str | None:
    """The detector's best attribute of an object; most have none."""
    attributes = entry.get("attributes")
    if not attributes:
        return None
    if not isinstance(attributes, list) or not isinstance(attributes[0], str):
        raise TypeError("attributes")
    return attributes[0].strip() or None
