"""What a detector says about an image, whatever the format it comes in, and the checks that all formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.options import RegionOptions

# A box may leave the image by this share of its side, and by so many pixels in a small image; it is clipped. Detectors
# that regress boxes leave it by some pixels; what leaves it further has been measured otherwise, or belongs elsewhere.
OVERSHOOT, OVERSHOOT_PIXELS = 0.05, 5.0
# Two sides may be in the wrong order by so many pixels, from rounding.
_REVERSED_PIXELS = 1.0
_LARGEST_HALF = float(np.finfo(np.float16).max)
NO_REGIONS = "image without regions"

DAMAGED_FILE = "Download or extract the folder again, or leave such images out with on_bad_record=skip"
DAMAGED_BOXES = "Check how the boxes were made, or leave such images out with on_bad_record=skip"

# A part of a source that is read in one go: whatever the source needs to find its images; can be pickled.
Shard = Any
# Makes the problem of an image out of a reason, a value and a remedy.
MakeProblem = Callable[[str, str, str], BadRecord]


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
        mended: whether the boxes were given in another scale than the image's.
        num_clipped: boxes that left the image by some pixels.
        num_without_area: regions that were left out because their box has no area.
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
    num_without_area: int
    num_dropped: int


class ImageWithoutRegions(BadRecord):
    """An image that is not damaged: the detector has found nothing in it, or nothing that has an area."""


@dataclass(frozen=True)
class Contents:
    """What is known of a source before its images are read.

    Attributes:
        num_images: images, damaged ones included.
        object_names, attribute_names: all names that its images can have.
        problems: what is damaged, as far as it is known by then.
        remark: what was decided for the whole of the source, and why; empty where there was nothing to decide.
    """

    num_images: int
    object_names: list[str]
    attribute_names: list[str]
    problems: list[BadRecord]
    remark: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "problems": [problem.to_json() for problem in self.problems]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Contents:
        """What :meth:`to_json` gave."""
        return cls(**{**content, "problems": [BadRecord.from_json(problem) for problem in content["problems"]]})


@dataclass(frozen=True)
class ShardContent:
    """What a shard holds.

    Attributes:
        images: what there is of every image, in order. Where the source has a ``lines_file``, there is an entry for
            every line of it, and the lines of problems in that file count from the shard's first line, as 1.
        found: what :meth:`RegionSource.mark` is to be told.
    """

    images: list[Detection | BadRecord]
    found: np.ndarray


class ShardReader(Protocol):
    """Reads the images of a source."""

    def read(self, shard: Shard) -> ShardContent:
        """The images of a shard."""


class RegionSource(Protocol):
    """A folder or file of detector output. It can be pickled.

    Attributes:
        path: the folder or file.
        lines_file: the file that has a line for every image, where there is one.

    What it finds out about its content before the images are read, it keeps in files whose names begin with ``index``.
    """

    @property
    def path(self) -> Path: ...

    @property
    def lines_file(self) -> Path | None: ...

    def fingerprint(self) -> dict[str, Any]:
        """What identifies its content, as JSON."""

    def prepare(self, index: Path, num_workers: int) -> Contents:
        """Find out what there is.

        Raises:
            InputError: nothing can be read, or it is not known how.
        """

    def shards(self, index: Path) -> Iterator[Shard]:
        """The shards, in order; they do not depend on the number of workers."""

    def reader(self, index: Path) -> ShardReader:
        """Open the source."""

    def mark(self, index: Path, found: np.ndarray) -> None:
        """Note what a shard has found; noting it twice makes no difference."""

    def leftovers(self, index: Path) -> Iterator[BadRecord]:
        """When all shards have been read: what none of them has found and should have been."""


def finish_detection(
    image_id: str,
    size: tuple[int, int],
    features: np.ndarray,
    boxes: np.ndarray,
    names: list[str],
    attributes: list[str | None],
    confidence: np.ndarray,
    mended: bool,
    options: RegionOptions,
    bad: MakeProblem,
    keep_order: bool = False,
) -> Detection:
    """Check an image's arrays, bring boxes into the image, and keep the most confident regions that have an area.

    Args:
        image_id: the image's name.
        size: width and height in pixels.
        features: float16 [n, d]; see :func:`as_half`.
        boxes: x1, y1, x2, y2 in pixels, float64 [n, 4].
        names, attributes, confidence, mended: see :class:`Detection`.
        options: how many regions to keep.
        bad: makes the problem.
        keep_order: a box of no area is a problem, since leaving it out would change the regions' numbers.

    Raises:
        BadRecord: a box is outside of the image, or its sides are in the wrong order.
        ImageWithoutRegions: no box has an area.
    """
    boxes, was_clipped = _clip(boxes, size, bad)
    has_area = _has_area(boxes)
    if keep_order:
        _refuse_first(np.logical_not(has_area), "box of no area", boxes, size, bad)
    if not has_area.any():
        raise without_regions(bad, f"none of its {len(boxes)} boxes has an area")
    keep = np.flatnonzero(has_area)
    if len(keep) > options.max_regions:
        # The most confident ones, in the order in which the detector gave them.
        keep = np.sort(keep[np.argsort(-confidence[keep], kind="stable")[: options.max_regions]])
    return Detection(
        image_id=image_id,
        width=size[0],
        height=size[1],
        features=features[keep],
        boxes=boxes[keep].astype(np.float32),
        names=[names[index] for index in keep],
        attributes=[attributes[index] for index in keep],
        confidence=confidence[keep].astype(np.float32),
        mended=mended,
        num_clipped=int((was_clipped & has_area).sum()),
        num_without_area=int((~has_area).sum()),
        num_dropped=int(has_area.sum()) - len(keep),
    )


def without_regions(bad: MakeProblem, value: str) -> ImageWithoutRegions:
    """Say that an image has no regions."""
    file, line, image_id, *_ = bad(NO_REGIONS, value, "").to_json()
    return ImageWithoutRegions(Path(file), line, image_id, NO_REGIONS, value, "Nothing needs to be done")


def refuse_feature_size(where: Any, found: int, has_box: bool, options: RegionOptions) -> InputError:
    """The error for a source whose features have another size than the option says.

    Args:
        where: the source.
        found: numbers of its rows.
        has_box: the last six of them are the box.
        options: what was expected.
    """
    wanted, size = options.feature_dim, found - 6 if has_box else found
    rows = f"rows of {found} numbers" + (f", {size} features and a box" if has_box else "")
    return InputError(
        str(where),
        f"has {rows}, whereas region_options.feature_dim={wanted} stands for {wanted}, or {wanted + 6} with a box",
        f"Set region_options.feature_dim={size}, and model_config.muvla.trunk.feature_dim for training, "
        "or name the right features",
    )


def rows_end_with_box(matrix: np.ndarray) -> bool:
    """Whether the last six numbers of rows [n, d] look like a box relative to the image, and its size."""
    if matrix.shape[1] <= 6:
        return False
    x1, y1, x2, y2, width, height = matrix[:, -6:].astype(np.float64).T
    # Features can end with zeros, which would fit each other as well.
    return bool((width > 0).any() and np.allclose([x2 - x1, y2 - y1], [width, height], rtol=1e-2, atol=1e-3))


def relative_boxes(relative: np.ndarray, size: tuple[int, int], bad: MakeProblem) -> np.ndarray:
    """Boxes in pixels, float64 [n, 4], out of boxes relative to the image [n, at least 4].

    Raises:
        BadRecord: a box is not finite.
    """
    boxes = relative[:, :4].astype(np.float64) * np.array([*size, *size], np.float64)
    if not np.isfinite(boxes).all():
        region = np.argwhere(~np.isfinite(boxes))[0][0]
        raise bad("box is not finite", f"region {region}: {relative[region, :4].tolist()}", DAMAGED_BOXES)
    return boxes


def allowed_overshoot(limits: np.ndarray) -> np.ndarray:
    """By how many pixels boxes may leave an image whose sides are ``limits``."""
    return np.maximum(OVERSHOOT * limits, OVERSHOOT_PIXELS)


def rename(name: str, renamed: Mapping[str, str]) -> str:
    """The name that a class is to have."""
    return renamed.get(name, name)


def as_half(features: np.ndarray, bad: MakeProblem) -> np.ndarray:
    """Features in 16 bits.

    Raises:
        BadRecord: one is not finite, or does not fit.
    """
    # Written so that NaN is caught too: it is not less than anything.
    if features.size and not (features.max() <= _LARGEST_HALF and features.min() >= -_LARGEST_HALF):
        region, number = np.argwhere(~(np.abs(features) <= _LARGEST_HALF))[0]
        value = features[region, number]
        reason = "feature does not fit into 16 bits" if np.isfinite(value) else "feature is not a finite number"
        raise bad(reason, f"{value} at region {region}, number {number}", DAMAGED_FILE)
    return features.astype(np.float16)


def _clip(boxes: np.ndarray, size: tuple[int, int], bad: MakeProblem) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes that leave the image by some pixels, and say which; boxes further out are a problem."""
    limits = np.array([*size, *size], np.float64)
    allowed = allowed_overshoot(limits)
    # Written so that NaN is outside too.
    is_outside = np.any(~((boxes >= -allowed) & (boxes <= limits + allowed)), axis=1)
    _refuse_first(is_outside, "box outside the image", boxes, size, bad)
    is_reversed = np.any(boxes[:, 2:] < boxes[:, :2] - _REVERSED_PIXELS, axis=1)
    _refuse_first(is_reversed, "box ends before it begins", boxes, size, bad)
    clipped = np.clip(boxes, 0, limits)
    # What float32 made of a box on the image's edge does not count as clipped.
    return clipped, np.any(np.abs(clipped - boxes) > 1e-3, axis=1)


def _has_area(boxes: np.ndarray) -> np.ndarray:
    """Which boxes have an area, in the precision in which they are stored, and not only in this one."""
    stored = boxes.astype(np.float32)
    return np.all(stored[:, 2:] > stored[:, :2], axis=1)


def _refuse_first(
    is_wrong: np.ndarray, reason: str, boxes: np.ndarray, size: tuple[int, int], bad: MakeProblem
) -> None:
    if is_wrong.any():
        region = int(is_wrong.argmax())
        value = f"region {region}: {np.round(boxes[region], 1).tolist()} in an image of {size[0]} x {size[1]}"
        raise bad(reason, value, DAMAGED_BOXES)
