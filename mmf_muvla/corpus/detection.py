"""What a detector says about an image, whatever the format it comes in, and the checks that all formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmf_muvla.corpus.config import RegionOptions
from mmf_muvla.corpus.problems import BadRecord

# The detectors' input: the short side becomes 800 pixels, unless the long side would exceed 1333.
SHORT_SIDE, LONG_SIDE = 800, 1333
# A box may stand out of the image by so many pixels, from rounding; it is clipped.
TOLERANCE = 1.0
_LARGEST_HALF = float(np.finfo(np.float16).max)

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
class Contents:
    """What is known of a source before its images are read.

    Attributes:
        num_images: images, damaged ones included.
        object_names, attribute_names: all names that its images can have.
        problems: what is damaged, as far as it is known by then.
    """

    num_images: int
    object_names: list[str]
    attribute_names: list[str]
    problems: list[BadRecord]

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
            InputError: nothing can be read.
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
) -> Detection:
    """Check an image's arrays, bring boxes into the image and keep the most confident regions.

    Args:
        image_id: the image's name.
        size: width and height in pixels.
        features: float16 [n, d]; see :func:`as_half`.
        boxes: x1, y1, x2, y2 in pixels, float64 [n, 4].
        names, attributes, confidence, mended: see :class:`Detection`.
        options: how many regions to keep.
        bad: makes the problem.

    Raises:
        BadRecord: a box is outside of the image or has no area.
    """
    boxes, num_clipped = _clip(boxes, size, bad)
    keep = np.arange(len(boxes))
    if len(keep) > options.max_regions:
        # The most confident ones, in the order in which the detector gave them.
        keep = np.sort(np.argsort(-confidence, kind="stable")[: options.max_regions])
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
        num_clipped=num_clipped,
        num_dropped=len(boxes) - len(keep),
    )


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


def rename(name: str, renamed: Mapping[str, str]) -> str:
    """The name that a class is to have."""
    return renamed.get(name, name)


def as_half(features: np.ndarray, bad: MakeProblem) -> np.ndarray:
    """Features in 16 bits.

    Raises:
        BadRecord: one is not finite, or does not fit.
    """
    # Written so that NaN is caught too: it is not less than anything.
    if not (features.max() <= _LARGEST_HALF and features.min() >= -_LARGEST_HALF):
        region, number = np.argwhere(~(np.abs(features) <= _LARGEST_HALF))[0]
        value = features[region, number]
        reason = "feature does not fit into 16 bits" if np.isfinite(value) else "feature is not a finite number"
        raise bad(reason, f"{value} at region {region}, number {number}", DAMAGED_FILE)
    return features.astype(np.float16)


def _clip(boxes: np.ndarray, size: tuple[int, int], bad: MakeProblem) -> tuple[np.ndarray, int]:
    """Clip boxes that stand out by a pixel; boxes further out, or of no area, are a problem."""
    limits = np.array([*size, *size], np.float64)
    image = f"image of {size[0]} x {size[1]}"
    # Written so that NaN is outside too.
    outside = ~((boxes >= -TOLERANCE) & (boxes <= limits + TOLERANCE)).all(axis=1)
    if outside.any():
        region = int(outside.argmax())
        value = f"region {region}: {np.round(boxes[region], 1).tolist()} in an {image}"
        raise bad("box outside the image", value, DAMAGED_BOXES)
    clipped = np.clip(boxes, 0, limits)
    # In the precision in which they are stored, and not only in this one.
    stored = clipped.astype(np.float32)
    empty = (stored[:, 2:] <= stored[:, :2]).any(axis=1)
    if empty.any():
        region = int(empty.argmax())
        value = f"region {region}: {np.round(boxes[region], 1).tolist()} in an {image}"
        raise bad("box of no area", value, DAMAGED_BOXES)
    # What float32 made of a box on the image's edge does not count as clipped.
    return clipped, int((np.abs(clipped - boxes) > 1e-3).any(axis=1).sum())
