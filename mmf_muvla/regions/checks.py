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
from mmf_muvla.regions.boxes import allowed_overshoot, have_area, limits_of
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import Regions

# Two sides may be in the wrong order by so many pixels, from rounding.
_REVERSED_PIXELS = 1.0
_LARGEST_HALF = float(np.finfo(np.float16).max)
NO_REGIONS = "image without regions"

DAMAGED_FILE = "Download or extract the folder again, or leave such images out with on_bad_record=skip"
DAMAGED_BOXES = "Check how the boxes were made, or leave such images out with on_bad_record=skip"


class ImageWithoutRegions(BadRecord):
    """An image that is not damaged: the detector has found nothing in it, or nothing that has an area."""


@dataclass(frozen=True)
class Place:
    """Where an image stands; called with a reason, a value and a remedy, it makes a problem of the image."""

    file: Path
    line: int | None  # from 1
    image_id: str

    def __call__(self, reason: str, value: str, remedy: str = DAMAGED_FILE) -> BadRecord:
        return BadRecord(self.file, self.line, self.image_id, reason, value, remedy)

    def without_regions(self, value: str) -> ImageWithoutRegions:
        """Say that the image has no regions."""
        return ImageWithoutRegions(self.file, self.line, self.image_id, NO_REGIONS, value, "Nothing needs to be done")


@dataclass(frozen=True)
class FoundImage:
    """An image as it goes into a store, and what was done to it."""

    regions: Regions
    mended: bool = False  # the boxes were given in another scale than the image's
    num_clipped: int = 0  # boxes that left the image by some pixels
    num_without_area: int = 0  # regions that were left out because their box has no area
    num_dropped: int = 0  # regions beyond ``max_regions``


def check_image(
    regions: Regions, options: RegionOptions, bad: Place, *, mended: bool = False, keep_order: bool = False
) -> FoundImage:
    """Check an image's arrays, bring boxes into the image, and keep the most confident regions that have an area.

    Args:
        regions: the arrays of one length, of any type of number.
        options: how many features and regions there may be.
        bad: where the image stands.
        mended: see :class:`FoundImage`.
        keep_order: classes are not known, and a box of no area is a problem, since leaving it out would change the
            regions' numbers.

    Raises:
        BadRecord: the arrays do not fit each other, a number is none or too large, or a box lies outside the image or
            ends before it begins.
        ImageWithoutRegions: no box has an area.
    """
    if not keep_order:
        _refuse_misfits(regions, options, bad)
    features = as_half(regions.image_feature_0, bad)
    size = regions.width, regions.height
    limits = limits_of(size)
    given = regions.bbox
    allowed = allowed_overshoot(limits)
    # Written so that NaN is outside too.
    is_outside = np.any(~((given >= -allowed) & (given <= limits + allowed)), axis=1)
    _refuse_first(is_outside, "box outside the image", given, size, bad)
    is_reversed = np.any(given[:, 2:] < given[:, :2] - _REVERSED_PIXELS, axis=1)
    _refuse_first(is_reversed, "box ends before it begins", given, size, bad)
    boxes = np.clip(given, 0, limits)
    # What float32 made of a box on the image's edge does not count as clipped.
    was_clipped = np.any(np.abs(boxes - given) > 1e-3, axis=1)
    has_area = have_area(boxes)
    if keep_order:
        _refuse_first(~has_area, "box of no area", boxes, size, bad)
    if not has_area.any():
        raise bad.without_regions(f"none of its {len(boxes)} boxes has an area")
    keep = np.flatnonzero(has_area)
    if len(keep) > options.max_regions:
        # The most confident ones, in the detector's order.
        keep = np.sort(keep[np.argsort(-regions.confidence[keep], kind="stable")[: options.max_regions]])
    kept = replace(
        regions,
        image_feature_0=features[keep],
        bbox=boxes[keep].astype(np.float32),
        class_id=regions.class_id[keep].astype(np.int32),
        attribute_id=regions.attribute_id[keep].astype(np.int32),
        confidence=regions.confidence[keep].astype(np.float32),
    )
    return FoundImage(
        kept,
        mended,
        num_clipped=int((was_clipped & has_area).sum()),
        num_without_area=int((~has_area).sum()),
        num_dropped=int(has_area.sum()) - len(keep),
    )


def _refuse_misfits(regions: Regions, options: RegionOptions, bad: Place) -> None:
    """The formats of others may not have looked."""
    if not len(regions):
        raise bad.without_regions("0 regions")
    try:
        regions.check(options.feature_dim, sys.maxsize, sys.maxsize)
    except InputError as error:
        raise bad("image cannot be used", error.problem) from error
    # Written so that NaN is caught too.
    wrong = ~((regions.confidence >= 0) & (regions.confidence <= 1))
    if wrong.any():
        region = int(wrong.argmax())
        raise bad("confidence is not between 0 and 1", f"region {region}: {regions.confidence[region]}")


def as_half(features: np.ndarray, bad: Callable[[str, str], BadRecord]) -> np.ndarray:
    """Features in 16 bits; one that is not finite or does not fit is a BadRecord."""
    # Written so that NaN is caught too: it is not less than anything.
    if features.size and not (features.max() <= _LARGEST_HALF and features.min() >= -_LARGEST_HALF):
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
    """Refuse boxes [n, 4] that are not finite, as a BadRecord that says how they were given."""
    is_wrong = ~np.isfinite(boxes).all(axis=1)
    if is_wrong.any():
        region = int(is_wrong.argmax())
        raise bad("box is not finite", f"region {region}: {given[region].tolist()}", DAMAGED_BOXES)


def refuse_feature_size(where: Any, found: int, has_box: bool, options: RegionOptions) -> InputError:
    """The error for a source whose rows have ``found`` numbers, of which the last six may be the box."""
    wanted, size = options.feature_dim, found - 6 if has_box else found
    rows = f"rows of {found} numbers" + (f", {size} features and a box" if has_box else "")
    return InputError(
        str(where),
        f"has {rows}, whereas region_options.feature_dim={wanted} stands for {wanted}, or {wanted + 6} with a box",
        f"Set region_options.feature_dim={size}, and model_config.muvla.trunk.feature_dim for training, "
        "or name the right features",
    )


def _refuse_first(is_wrong: np.ndarray, reason: str, boxes: np.ndarray, size: tuple[int, int], bad: Place) -> None:
    if is_wrong.any():
        region = int(is_wrong.argmax())
        value = f"region {region}: {np.round(boxes[region], 1).tolist()} in an image of {size[0]} x {size[1]}"
        raise bad(reason, value, DAMAGED_BOXES)
