"""Makes sense of an image's record: its features, and a dictionary of what else the detector says.

The dictionary is MMF's, ``docs/formats.md`` has its keys; other formats of arrays are given its shape.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from mmf_muvla.reading.problems import shown
from mmf_muvla.regions.checks import (
    DAMAGED_BOXES,
    DAMAGED_FILE,
    FoundImage,
    Place,
    as_half,
    check_image,
    refuse_confidence,
    refuse_infinite,
    relative_boxes,
)
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.rect_scale import DETECTOR_SIZE
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.sources import NameIds, class_names

# Softmax in half precision can exceed 1 a little.
_CONFIDENCE_SLACK = 1e-3
_CLASSES = ("objects", "labels")
# What bottom-up-attention shows of attributes has at least this confidence; every region has one.
_LEAST_ATTRIBUTE = 0.1
_NUMBERS = (int, float, np.number, np.bool_)
# Lists become arrays up to so many numbers: a pickle can say the same list a million times.
_MOST_NUMBERS = 1_000_000


@dataclass(frozen=True)
class ImageRecord:
    """What a file holds of an image, not made sense of yet."""

    features: np.ndarray
    info: dict[Any, Any]
    bad: Place  # of the features
    bad_info: Place  # of the dictionary

    @property
    def has_classes(self) -> bool:
        """Whether it says what the regions are."""
        return _first_key(self.info, *_CLASSES) is not None

    def has_features_of(self, dim: int) -> bool:
        """Whether rows have so many numbers, or a box's six more."""
        return self.features.ndim == 2 and self.features.shape[1] in (dim, dim + 6)

    def read(self, options: RegionOptions, labels: LabelMap | None, names: NameIds) -> FoundImage:
        """Make sense of it, without classes (-1) where there are no ``labels``.

        Raises:
            BadRecord: it makes no sense, or the image has no regions.
        """
        info, bad = self.info, self.bad_info
        size, boxes = self._size_and_boxes(options)
        objects = None if labels is None else _numbers(info, bad, 1, *_CLASSES)
        confidence = _confidence(info, len(boxes if objects is None else objects), bad)
        arrays = {"boxes": boxes, "objects": objects, "probabilities": confidence}
        count = self._count(**{name: array for name, array in arrays.items() if array is not None})
        class_id = attribute_id = np.full(count, -1)
        if labels is not None and objects is not None:
            class_id = names.class_ids(class_names(objects[:count].tolist(), labels, options, bad))
            attribute_id = names.attribute_ids(_attributes(info, count, labels, bad))
        regions = Regions(
            self.bad.image_id,
            *size,
            *self._split(count, boxes, size, options),
            class_id=class_id,
            attribute_id=attribute_id,
            confidence=np.minimum(confidence[:count], 1).astype(np.float32),
        )
        refuse_confidence(confidence[:count], bad, _CONFIDENCE_SLACK)
        return check_image(regions, options, self.bad)

    def read_unnamed(self, feature_dim: int) -> Regions:
        """Features and boxes alone: all regions, in the detector's order, of class -1 and a confidence of 1."""
        options = RegionOptions(feature_dim=feature_dim, max_regions=sys.maxsize)
        size, boxes = self._size_and_boxes(options)
        count = self._count(boxes=boxes)
        unknown = np.full(count, -1)
        rows = self._split(count, boxes, size, options)
        regions = Regions(self.bad.image_id, *size, *rows, unknown, unknown, np.ones(count))
        return check_image(regions, options, self.bad, keep_order=True).regions

    def _split(
        self, count: int, boxes: np.ndarray, size: tuple[int, int], options: RegionOptions
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features in 16 bits, and boxes in pixels, of the first ``count`` regions."""
        features, relative = np.split(self.features[:count], [options.feature_dim], axis=1)
        return as_half(features, self.bad), self._boxes(boxes[:count], relative, size)

    @property
    def feature_dim(self) -> int:
        """Numbers per region feature: a row's, less its box where the script for VinVL has put that at its end."""
        boxes: Any = self.info.get("bbox")
        if self.features.ndim != 2:
            return 0
        rows, width = self.features.shape
        has_box = isinstance(boxes, np.ndarray) and boxes.shape == (rows, 6) and width > 6
        return width - 6 if has_box and np.allclose(self.features[:, -6:], boxes, rtol=1e-2, atol=1e-3) else width

    def _size_and_boxes(self, options: RegionOptions) -> tuple[tuple[int, int], np.ndarray]:
        """Width and height, and the boxes as they are given; the shape of the features is checked first."""
        dim, features, bad = options.feature_dim, self.features, self.bad_info
        is_empty = features.ndim in (1, 2) and len(features) == 0
        if not is_empty and not (self.has_features_of(dim) and features.dtype.kind == "f"):
            value = f"{_described(features)}, expected [n, {dim}] or [n, {dim + 6}]"
            remedy = f"{DAMAGED_FILE}; or set region_options.feature_dim"
            raise self.bad("features have another shape", value, remedy)
        size = (_side(self.info, bad, "image_width", "image_w"), _side(self.info, bad, "image_height", "image_h"))
        short, long = options.detector_size or DETECTOR_SIZE
        is_resized = min(size) == short or max(size) == long
        if is_resized and options.rect_scale != "original" and self._is_from_faster_rcnn():
            problem = "image size seems to be the detector's, and boxes those of the original"
            remedy = "Put the original's size into the file, or set region_options.rect_scale=original where it is that"
            raise bad(problem, f"{size[0]} x {size[1]}", remedy)
        return size, _numbers(self.info, bad, 2, "bbox", "boxes")

    def _is_from_faster_rcnn(self) -> bool:
        """Whether MMF's script for Faster R-CNN wrote it: no other one has a single probability a region."""
        return isinstance(self.info.get("cls_prob"), np.ndarray) and self.info["cls_prob"].ndim == 1

    def _count(self, **arrays: np.ndarray) -> int:
        """How many regions there are; what comes after them is padding."""
        value = self.info.get("num_boxes")
        lengths = [len(self.features), *map(len, arrays.values())]
        shortest, are_equal = min(lengths), len(set(lengths)) == 1
        said = ", ".join(f"{length} {name}" for length, name in zip(lengths, ("features", *arrays), strict=True))
        if value is None and not are_equal:
            raise self.bad_info("arrays differ in the number of regions", said)
        count = shortest if value is None else whole(value)
        if count is None or count < 0:
            raise self.bad_info("num_boxes is not a number", shown(value, 40))
        # That script always notes how many regions it was asked for, also where there are fewer.
        if count > shortest and not (are_equal and self._is_from_faster_rcnn()):
            raise self.bad_info("num_boxes exceeds the regions", f"{count} of {said}")
        count = min(count, shortest)
        if count == 0:
            raise self.bad_info.without_regions("0 regions")
        return count

    def _boxes(self, boxes: np.ndarray, relative: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        bad = self.bad_info
        if relative.size:
            return relative_boxes(relative, size, self.bad)
        if boxes.shape[1] == 6:
            return relative_boxes(boxes, size, bad)
        if boxes.shape[1] != 4:
            raise bad("bbox is not four numbers a region", f"shape {boxes.shape}", DAMAGED_BOXES)
        refuse_infinite(boxes, boxes, bad)
        if (boxes >= 0).all() and (boxes <= 1).all() and boxes.any() and min(size) > 1:
            value = f"region 0: {boxes[0].tolist()} in an image of {size[0]} x {size[1]}"
            raise bad("boxes seem to be relative to the image", value, "Give them in pixels, or as [n, 6]")
        return boxes.astype(np.float64)


def _attributes(info: dict[Any, Any], count: int, labels: LabelMap, bad: Place) -> list[str | None]:
    if not labels.attributes:
        return [None] * count
    if info.get("attrs_id") is not None:
        return _scored_attributes(info, count, labels, bad)
    if info.get("attr_labels") is None:
        return [None] * count
    numbers = as_array(info["attr_labels"], "attr_labels", bad)
    if numbers.ndim not in (1, 2) or len(numbers) < count or numbers.size == 0 or numbers.dtype.kind not in "iu":
        raise bad("attr_labels are not numbers of attributes", _described(numbers))
    best = (numbers if numbers.ndim == 1 else numbers[:, 0])[:count].tolist()
    for region, number in enumerate(best):
        if number != 0 and number not in labels.attributes:
            remedy = "Check region_options.label_map"
            raise bad("attribute is not in the label map", f"region {region}: {number}", remedy)
    return [labels.attributes[number] if number else None for number in best]


def _scored_attributes(info: dict[Any, Any], count: int, labels: LabelMap, bad: Place) -> list[str | None]:
    """Attributes as bottom-up-attention gives them: one a region, of a confidence of its own, numbered from 0."""
    numbers = _numbers(info, bad, 1, "attrs_id")[:count]
    scores = _numbers(info, bad, 1, "attrs_conf")[:count]
    if not len(numbers) == len(scores) == count:
        said = f"{len(numbers)} and {len(scores)}, for {count} regions"
        raise bad("attributes and their confidences differ in number", said)
    names: list[str | None] = []
    for region, (number, score) in enumerate(zip(numbers.tolist(), scores.tolist(), strict=True)):
        is_sure = score >= _LEAST_ATTRIBUTE
        if is_sure and number not in labels.attributes:
            raise bad(
                "attribute is not in the label map", f"region {region}: {number}", "Check region_options.label_map"
            )
        names.append(labels.attributes[int(number)] if is_sure else None)
    return names


def _confidence(info: dict[Any, Any], count: int, bad: Place) -> np.ndarray:
    key = _first_key(info, "conf", "scores", "cls_prob")
    if key is None:
        return np.ones(count)
    values = as_array(info[key], key, bad)
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiu" or (values.ndim == 2 and not values.shape[1]):
        raise bad(f"{key} are not numbers", _described(values))
    # A probability for every class takes hundreds of kilobytes an image: the largest is kept.
    largest = values if values.ndim == 1 else values.max(axis=1)
    return largest if largest.any() else np.ones(len(largest))


def _numbers(info: dict[Any, Any], bad: Place, ndim: int, *keys: str) -> np.ndarray:
    key = _first_key(info, *keys)
    if key is None:
        found = ", ".join(shown(key, 20) for key in islice(info, 8))
        raise bad(f"there is no {keys[0]}", f"there are {found[:80] or 'no values'}")
    values = as_array(info[key], key, bad)
    if values.size == 0 and values.ndim <= ndim:
        # What an image without regions has need not have the right shape.
        return np.zeros((0, 4) if ndim == 2 else 0)
    if values.ndim != ndim or values.dtype.kind not in "fiu":
        raise bad(f"{keys[0]} is not an array of numbers with {ndim} axes", _described(values))
    return values


def _first_key(info: dict[Any, Any], *keys: str) -> str | None:
    return next((key for key in keys if info.get(key) is not None), None)


def _described(array: np.ndarray) -> str:
    return f"array of {array.dtype} of shape {array.shape}"


def as_array(value: Any, key: str, bad: Place) -> np.ndarray:
    """The array that stands under a key; anything else is a BadRecord."""
    if isinstance(value, np.ndarray):
        return value
    with suppress(ValueError, OverflowError):
        if isinstance(value, (list, tuple)) and _are_numbers(value):
            return np.asarray(value)
    raise bad(f"{key} is not an array", shown(value))


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether a list is one of numbers, or of lists or arrays of numbers, and not too large to be made an array of."""
    rows = [values] if not values or isinstance(values[0], _NUMBERS) else values
    return (
        all(isinstance(row, (list, tuple, np.ndarray)) for row in rows)
        and sum(row.size if isinstance(row, np.ndarray) else len(row) for row in rows) <= _MOST_NUMBERS
        and all(
            row.dtype.kind in "fiub" if isinstance(row, np.ndarray) else all(isinstance(it, _NUMBERS) for it in row)
            for row in rows
        )
    )


def _side(info: dict[Any, Any], bad: Place, *keys: str) -> int:
    value = info.get(_first_key(info, *keys))
    side = whole(value)
    if side is None or not 0 < side < 2**31:
        raise bad(f"{keys[0]} is not a size in pixels", shown(value, 40))
    return side


def whole(value: Any) -> int | None:
    """The integer that a value is, also as an array without axes; ``None`` where it is none."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool):
        return value  # NumPy does not know integers of any size
    is_number = isinstance(value, (float, np.integer, np.floating))
    return int(value) if is_number and np.isfinite(value) and value == int(value) else None
