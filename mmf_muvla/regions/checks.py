"""The checks that images of all formats go through."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.boxes import allowed_overshoot, limits_of
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import Regions

# Two sides may be in the wrong order by so many pixels, from rounding.
_REVERSED_PIXELS = 1.0
_LARGEST_HALF = float(np.finfo(np.float16).max)
# The reason of an image that is not damaged: the detector has found nothing in it, or nothing that has an area.
NO_REGIONS = "image without regions"
DAMAGED_FILE = "Download or extract the folder again, or leave such images out with on_bad_record=skip"
DAMAGED_BOXES = "Check how the boxes were made, or leave such images out with on_bad_record=skip"


@dataclass(frozen=True)
class Place:
    """Where an image stands; called with a reason, a value and a remedy, it makes a problem of the image."""

    file: Path
    line: int | None  # from 1
    image_id: str

    def __call__(self, reason: str, value: str, remedy: str = DAMAGED_FILE) -> BadRecord:
        return BadRecord(self.file, self.line, self.image_id, reason, value, remedy)

    def without_regions(self, value: str) -> BadRecord:
        """Say that the image has no regions."""
        return self(NO_REGIONS, value, "Nothing needs to be done")


@dataclass(frozen=True)
class FoundImage:
    """An image as it goes into a store, and what was done to it."""

    regions: Regions
    boxes_mended: bool = False  # they were given in another scale than the image's
    boxes_clipped: int = 0  # they left the image by some pixels
    regions_without_area: int = 0  # left out because their box has no area
    regions_dropped: int = 0  # beyond ``max_regions``
    thumbnail: bytes | None = None  # a small JPEG of the image, where its picture is known


def check_image(
    regions: Regions, options: RegionOptions, bad: Place, *, mended: bool = False, keep_order: bool = False
) -> FoundImage:
    """Check an image's arrays, bring boxes into the image, and keep the most confident regions that have an area.

    Args:
        regions: the arrays, of any type of number.
        options: how many features and regions there may be.
        bad: where the image stands.
        mended: the boxes were given in another scale.
        keep_order: refuse a box of no area, since leaving it out would change the regions' numbers; nor are classes
            and confidences looked at.

    Raises:
        BadRecord: the image cannot be used, or has no regions.
    """
    if not keep_order:
        _refuse_misfits(regions, options, bad)
    features = as_half(regions.image_feature_0, bad)
    given, limits = regions.bbox, limits_of((regions.width, regions.height))
    allowed = allowed_overshoot(limits)
    boxes = np.clip(given, 0, limits)
    stored = boxes.astype(np.float32)
    has_area = np.all(stored[:, 2:] > stored[:, :2], axis=1)

    def refuse_any(is_wrong: np.ndarray, reason: str, boxes: np.ndarray = given) -> None:
        rounded, size = np.round(boxes, 1), f"{regions.width} x {regions.height}"
        refuse_first(is_wrong, bad, reason, lambda it: f"{rounded[it].tolist()} in an image of {size}", DAMAGED_BOXES)

    # Written so that NaN is outside too.
    refuse_any(np.any(~((given >= -allowed) & (given <= limits + allowed)), axis=1), "box outside the image")
    refuse_any(np.any(given[:, 2:] < given[:, :2] - _REVERSED_PIXELS, axis=1), "box ends before it begins")
    if keep_order:
        refuse_any(~has_area, "box of no area", boxes)
    if not has_area.any():
        raise bad.without_regions(f"none of its {len(boxes)} boxes has an area")
    # What float32 made of a box on the image's edge does not count as clipped.
    was_clipped = np.any(np.abs(boxes - given) > 1e-3, axis=1)
    keep = np.flatnonzero(has_area)
    if len(keep) > options.max_regions:
        # The most confident ones, in the detector's order.
        keep = np.sort(keep[np.argsort(-regions.confidence[keep], kind="stable")[: options.max_regions]])
    kept = replace(
        regions,
        image_feature_0=features[keep],
        bbox=stored[keep],
        class_id=regions.class_id[keep].astype(np.int32),
        attribute_id=regions.attribute_id[keep].astype(np.int32),
        confidence=regions.confidence[keep].astype(np.float32),
    )
    num_with_area = int(has_area.sum())
    num_clipped = int((was_clipped & has_area).sum())
    return FoundImage(kept, mended, num_clipped, len(boxes) - num_with_area, num_with_area - len(keep))


def _refuse_misfits(regions: Regions, options: RegionOptions, bad: Place) -> None:
    """The formats of others may not have looked."""
    if not len(regions):
        raise bad.without_regions("0 regions")
    try:
        regions.check(options.feature_dim, sys.maxsize, sys.maxsize)
    except InputError as error:
        raise bad("image cannot be used", error.problem) from error
    refuse_confidence(regions.confidence, bad)


def refuse_confidence(confidence: np.ndarray, bad: Place, slack: float = 0) -> None:
    # Written so that NaN is caught too.
    is_wrong = ~((confidence >= 0) & (confidence <= 1 + slack))
    refuse_first(is_wrong, bad, "confidence is not between 0 and 1", lambda region: confidence[region])


def as_half(features: np.ndarray, bad: Place) -> np.ndarray:
    """Features in 16 bits; one that is not finite or does not fit is a BadRecord."""
    if features.dtype == np.float16:
        # Numbers that are not finite have all bits of the exponent; NumPy would compare halves one by one.
        fits = not features.size or bool((features.view(np.uint16) & 0x7FFF).max() < 0x7C00)
    else:
        # Written so that NaN is caught too: it is not less than anything.
        fits = not features.size or bool(features.max() <= _LARGEST_HALF and features.min() >= -_LARGEST_HALF)
    if not fits:
        region, number = np.argwhere(~(np.abs(features) <= _LARGEST_HALF))[0]
        value = features[region, number]
        reason = "feature does not fit into 16 bits" if np.isfinite(value) else "feature is not a finite number"
        raise bad(reason, f"{value} at region {region}, number {number}")
    return features.astype(np.float16, copy=False)


def relative_boxes(relative: np.ndarray, size: tuple[int, int], bad: Place) -> np.ndarray:
    """Boxes in pixels, float64 [n, 4], out of boxes relative to the image [n, at least 4], which have to be finite."""
    boxes = relative[:, :4].astype(np.float64) * limits_of(size)
    refuse_infinite(boxes, relative[:, :4], bad)
    return boxes


def refuse_infinite(boxes: np.ndarray, given: np.ndarray, bad: Place) -> None:
    is_wrong = ~np.isfinite(boxes).all(axis=1)
    refuse_first(is_wrong, bad, "box is not finite", lambda region: given[region].tolist(), DAMAGED_BOXES)


def refuse_first(
    is_wrong: np.ndarray, bad: Place, reason: str, value: Callable[[int], Any], remedy: str = DAMAGED_FILE
) -> None:
    """Raise a BadRecord that says the value of the first region that is wrong, if any is."""
    if is_wrong.any():
        region = int(is_wrong.argmax())
        raise bad(reason, f"region {region}: {value(region)}", remedy)


def refuse_feature_size(where: Path, found: int, has_box: bool, options: RegionOptions) -> InputError:
    """The error for a source whose rows have ``found`` numbers, of which the last six may be the box."""
    wanted, size = options.feature_dim, found - 6 if has_box else found
    rows = f"rows of {found} numbers" + (f", {size} features and a box" if has_box else "")
    return InputError(
        str(where),
        f"has {rows}, whereas region_options.feature_dim={wanted} stands for {wanted}, or {wanted + 6} with a box",
        f"Set region_options.feature_dim={size}, and model_config.muvla.trunk.feature_dim for training, "
        "or name the right features",
    )
