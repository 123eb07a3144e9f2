"""Makes sense of the dictionaries in which MMF keeps what a detector says about an image.

What is read of them:

* ``image_width``, ``image_height`` (or ``image_w``, ``image_h``). The script for Faster R-CNN notes here the size of
  the image as its network saw it, whereas its boxes are in pixels of the original. What looks like that is a bad
  record, unless ``region_options.rect_scale`` is ``original``.
* ``bbox`` (or ``boxes``): [n, 4] in pixels (x1, y1, x2, y2), or [n, 6] relative to the image, as the script for VinVL
  writes it. Where features have six numbers more than ``feature_dim``, these are the box, and count.
* ``objects`` (or ``labels``): [n], the numbers of classes. They have no names in these formats;
  ``region_options.label_map`` gives them.
* ``num_boxes``: rows beyond are padding.
* the confidence: ``conf`` or ``scores`` [n], or ``cls_prob``, [n] or [n, classes], of which the largest counts and
  nothing is kept (it takes hundreds of kilobytes an image). Where there is none, or nothing but zeros, it is 1.
* ``attr_labels``: [n] or [n, k] with the best first, where 0 is none; used where the label map has attributes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from mmf_muvla.reading.problems import shown
from mmf_muvla.regions.detection import (
    DAMAGED_BOXES,
    DAMAGED_FILE,
    Detection,
    MakeProblem,
    as_half,
    finish_detection,
    relative_boxes,
    rename,
    without_regions,
)
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.rect_scale import DETECTOR_SIZE

# Softmax in half precision can exceed 1 a little.
_CONFIDENCE_SLACK = 1e-3
_NUMBERS = (int, float, np.number, np.bool_)
# Lists become arrays up to so many numbers: a pickle can say the same list a million times.
_MOST_NUMBERS = 1_000_000


def read_record(
    image_id: str,
    info: dict[Any, Any],
    features: np.ndarray,
    options: RegionOptions,
    labels: LabelMap,
    bad: MakeProblem,
    bad_info: MakeProblem,
) -> Detection:
    """Make sense of what there is of an image.

    Args:
        image_id: the image's name.
        info: the dictionary.
        features: the features.
        options: how to read it.
        labels: names of classes.
        bad: makes problems of the features.
        bad_info: makes problems of the rest.

    Raises:
        BadRecord: it makes none, or the image has no regions.
    """
    size, boxes = _size_and_boxes(info, features, options, bad, bad_info)
    objects = _numbers(info, bad_info, 1, "objects", "labels")
    confidence = _confidence(info, len(objects), bad_info)
    lengths = {
        "features": len(features),
        "boxes": len(boxes),
        "objects": len(objects),
        "probabilities": len(confidence),
    }
    count = _count(info, lengths, bad_info)
    features, relative = np.split(features[:count], [options.feature_dim], axis=1)
    half = as_half(features, bad)
    return finish_detection(
        image_id,
        size,
        half,
        _boxes(boxes[:count], relative, size, bad, bad_info),
        _names(objects[:count], options, labels, bad_info),
        _attributes(info, count, labels, bad_info),
        _checked_confidence(confidence[:count], bad_info),
        False,
        options,
        bad,
    )


def read_unnamed_record(
    image_id: str,
    info: dict[Any, Any],
    features: np.ndarray,
    feature_dim: int,
    bad: MakeProblem,
    bad_info: MakeProblem,
) -> Detection:
    """As :func:`read_record`, for those who need features and boxes alone: all regions, in the detector's order.

    Classes, attributes and confidences are not looked at and may be absent; those of the result are ``""``, ``None``
    and 1.

    Args:
        image_id: the image's name.
        info: the dictionary.
        features: the features.
        feature_dim: numbers per region feature.
        bad: makes problems of the features.
        bad_info: makes problems of the rest.

    Raises:
        BadRecord: it makes none.
    """
    options = RegionOptions(feature_dim=feature_dim, max_regions=sys.maxsize)
    size, boxes = _size_and_boxes(info, features, options, bad, bad_info)
    count = _count(info, {"features": len(features), "boxes": len(boxes)}, bad_info)
    features, relative = np.split(features[:count], [feature_dim], axis=1)
    return finish_detection(
        image_id,
        size,
        as_half(features, bad),
        _boxes(boxes[:count], relative, size, bad, bad_info),
        [""] * count,
        [None] * count,
        np.ones(count),
        False,
        options,
        bad,
        keep_order=True,
    )


def feature_dim_of(info: dict[Any, Any], features: np.ndarray) -> int:
    """Numbers per region feature: a row's length, less its box where the script for VinVL has put that at the end.

    Args:
        info: the dictionary; its boxes tell whether a row's last six numbers are the box.
        features: [n, feature_dim] or [n, feature_dim + 6].
    """
    boxes = info.get("bbox")
    if features.ndim != 2:
        return 0
    width = int(features.shape[1])
    ends_with_box = (
        isinstance(boxes, np.ndarray)
        and boxes.shape == (len(features), 6)
        and width > 6
        and np.allclose(features[:, -6:], boxes, rtol=1e-2, atol=1e-3)
    )
    return width - 6 if ends_with_box else width


def _size_and_boxes(
    info: dict[Any, Any], features: np.ndarray, options: RegionOptions, bad: MakeProblem, bad_info: MakeProblem
) -> tuple[tuple[int, int], np.ndarray]:
    """Width and height, and the boxes as they are given; the shape of the features is checked first."""
    dim = options.feature_dim
    if features.size == 0 and features.ndim <= 2:
        features = np.zeros((0, dim), np.float32)
    if features.ndim != 2 or features.dtype.kind != "f" or features.shape[1] not in (dim, dim + 6):
        raise bad(
            "features have another shape",
            f"array of {features.dtype} of shape {features.shape}, expected [n, {dim}] or [n, {dim + 6}]",
            f"{DAMAGED_FILE}; or set region_options.feature_dim",
        )
    size = (_side(info, bad_info, "image_width", "image_w"), _side(info, bad_info, "image_height", "image_h"))
    _check_size(size, info, options, bad_info)
    return size, _numbers(info, bad_info, 2, "bbox", "boxes")


def _is_from_faster_rcnn(info: dict[Any, Any]) -> bool:
    """Whether MMF's script for Faster R-CNN wrote it: no other one has a single probability a region."""
    return isinstance(info.get("cls_prob"), np.ndarray) and info["cls_prob"].ndim == 1


def _check_size(size: tuple[int, int], info: dict[Any, Any], options: RegionOptions, bad: MakeProblem) -> None:
    short, long = options.detector_size or DETECTOR_SIZE
    is_resized = min(size) == short or max(size) == long
    if is_resized and options.rect_scale != "original" and _is_from_faster_rcnn(info):
        raise bad(
            "image size seems to be the detector's, and boxes those of the original",
            f"{size[0]} x {size[1]}",
            "Put the original's size into the file, or set region_options.rect_scale=original where it is that",
        )


def _count(info: dict[Any, Any], length_of: dict[str, int], bad: MakeProblem) -> int:
    """How many regions there are; what comes after them is padding."""
    value = info.get("num_boxes")
    lengths = list(length_of.values())
    if value is None:
        if len(set(lengths)) > 1:
            raise bad("arrays differ in the number of regions", _lengths(length_of), DAMAGED_FILE)
        count = lengths[0]
    else:
        number = _whole(value)
        if number is None or number < 0:
            raise bad("num_boxes is not a number", shown(value, 40), DAMAGED_FILE)
        count = number
    # That script always notes how many regions it was asked for, also where there are fewer.
    if count > min(lengths) and len(set(lengths)) == 1 and _is_from_faster_rcnn(info):
        count = lengths[0]
    if count > min(lengths):
        raise bad("num_boxes exceeds the regions", f"{count} of {_lengths(length_of)}", DAMAGED_FILE)
    if count == 0:
        raise without_regions(bad, "0 regions")
    return count


def _lengths(length_of: dict[str, int]) -> str:
    return ", ".join(f"{length} {name}" for name, length in length_of.items())


def _boxes(
    boxes: np.ndarray, relative: np.ndarray, size: tuple[int, int], bad: MakeProblem, bad_info: MakeProblem
) -> np.ndarray:
    if relative.size:
        return relative_boxes(relative, size, bad)
    if boxes.shape[1] == 6:
        return relative_boxes(boxes, size, bad_info)
    if boxes.shape[1] != 4:
        raise bad_info("bbox is not four numbers a region", f"shape {boxes.shape}", DAMAGED_BOXES)
    if not np.isfinite(boxes).all():
        region = np.argwhere(~np.isfinite(boxes))[0][0]
        raise bad_info("box is not finite", f"region {region}: {boxes[region].tolist()}", DAMAGED_BOXES)
    if (boxes >= 0).all() and (boxes <= 1).all() and boxes.any() and min(size) > 1:
        value = f"region 0: {boxes[0].tolist()} in an image of {size[0]} x {size[1]}"
        raise bad_info("boxes seem to be relative to the image", value, "Give them in pixels, or as [n, 6]")
    return boxes.astype(np.float64)


def _names(objects: np.ndarray, options: RegionOptions, labels: LabelMap, bad: MakeProblem) -> list[str]:
    names = []
    for region, number in enumerate(objects.tolist()):
        whole = _whole(number)
        name = None if whole is None else labels.object_name(whole)
        if name is None:
            raise bad(
                "class is not in the label map",
                f"region {region}: {number}",
                "Check region_options.label_map and label_offset",
            )
        names.append(rename(name, options.rename))
    return names


def _attributes(info: dict[Any, Any], count: int, labels: LabelMap, bad: MakeProblem) -> list[str | None]:
    if not labels.attributes or info.get("attr_labels") is None:
        return [None] * count
    numbers = as_array(info["attr_labels"], "attr_labels", bad)
    if numbers.ndim not in (1, 2) or len(numbers) < count or numbers.size == 0 or numbers.dtype.kind not in "iu":
        value = f"array of {numbers.dtype} of shape {numbers.shape}"
        raise bad("attr_labels are not numbers of attributes", value, DAMAGED_FILE)
    best = (numbers if numbers.ndim == 1 else numbers[:, 0])[:count].tolist()
    for region, number in enumerate(best):
        if number != 0 and number not in labels.attributes:
            value = f"region {region}: {number}"
            raise bad("attribute is not in the label map", value, "Check region_options.label_map")
    return [labels.attributes[number] if number else None for number in best]


def _confidence(info: dict[Any, Any], count: int, bad: MakeProblem) -> np.ndarray:
    key = next((key for key in ("conf", "scores", "cls_prob") if info.get(key) is not None), None)
    if key is None:
        return np.ones(count)
    values = as_array(info[key], key, bad)
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiu" or (values.ndim == 2 and not values.shape[1]):
        raise bad(f"{key} are not numbers", f"array of {values.dtype} of shape {values.shape}", DAMAGED_FILE)
    largest = values if values.ndim == 1 else values.max(axis=1)
    return largest if largest.any() else np.ones(len(largest))


def _checked_confidence(confidence: np.ndarray, bad: MakeProblem) -> np.ndarray:
    # Written so that NaN is caught too.
    wrong = ~((confidence >= 0) & (confidence <= 1 + _CONFIDENCE_SLACK))
    if wrong.any():
        region = int(wrong.argmax())
        raise bad("confidence is not between 0 and 1", f"region {region}: {confidence[region]}", DAMAGED_FILE)
    return np.minimum(confidence, 1).astype(np.float32)


def _numbers(info: dict[Any, Any], bad: MakeProblem, ndim: int, *keys: str) -> np.ndarray:
    key = next((key for key in keys if info.get(key) is not None), None)
    if key is None:
        found = ", ".join(shown(key, 20) for key in islice(info, 8))
        raise bad(f"there is no {keys[0]}", f"there are {found[:80] or 'no values'}", DAMAGED_FILE)
    values = as_array(info[key], key, bad)
    if values.size == 0 and values.ndim <= ndim:
        # What an image without regions has need not have the right shape.
        return np.zeros((0, 4) if ndim == 2 else 0)
    if values.ndim != ndim or values.dtype.kind not in "fiu":
        value = f"array of {values.dtype} of shape {values.shape}"
        raise bad(f"{keys[0]} is not an array of numbers with {ndim} axes", value, DAMAGED_FILE)
    return values


def as_array(value: Any, key: str, bad: MakeProblem) -> np.ndarray:
    """The array that stands under a key.

    Raises:
        BadRecord: there is none.
    """
    if isinstance(value, np.ndarray):
        return value
    try:
        if isinstance(value, (list, tuple)) and _are_numbers(value):
            return np.asarray(value)
    except (ValueError, OverflowError):
        pass
    raise bad(f"{key} is not an array", shown(value), DAMAGED_FILE)


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether a list is one of numbers, or of lists or arrays of numbers, and not too large to be made an array of."""
    rows = [values] if not values or isinstance(values[0], _NUMBERS) else values
    if not all(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
        return False
    if sum(row.size if isinstance(row, np.ndarray) else len(row) for row in rows) > _MOST_NUMBERS:
        return False
    return all(
        row.dtype.kind in "fiub" if isinstance(row, np.ndarray) else all(isinstance(number, _NUMBERS) for number in row)
        for row in rows
    )


def _side(info: dict[Any, Any], bad: MakeProblem, *keys: str) -> int:
    value = next((info[key] for key in keys if info.get(key) is not None), None)
    side = _whole(value)
    if side is None or not 0 < side < 2**31:
        raise bad(f"{keys[0]} is not a size in pixels", shown(value, 40), DAMAGED_FILE)
    return side


def _whole(value: Any) -> int | None:
    """The integer that a value is, also as an array without axes; ``None`` where it is none."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    if isinstance(value, int):
        # NumPy does not know integers of any size.
        return value
    return int(value) if np.isfinite(value) and value == int(value) else None
