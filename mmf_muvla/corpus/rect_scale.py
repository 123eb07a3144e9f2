"""Decides, once for a source, what the boxes called ``rect`` are measured in, where nothing in the files says so.

They are in pixels of the original image, or of the image as the detector saw it, for which it was resized. Each of the
scales that come into question is held against all images of the source:

* An image speaks *against* a scale where a box leaves the image, taken in that scale, by more than a little.
* It speaks *for* a scale where a box ends at the image's right or lower edge, as boxes of floors, walls and skies do,
  in that scale and in no other.

Boxes of a detector may leave an image by some pixels, so that one image alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmf_muvla.corpus.config import RegionOptions
from mmf_muvla.errors import InputError

# The detectors' input: the short side becomes so many pixels, unless the long side would exceed the second number.
DETECTOR_SIZE = (800, 1333)
_KNOWN_SIZES = (DETECTOR_SIZE, (600, 1000))
# A box leaves the image if it does so by more than this share of it and so many pixels; it ends at the edge if it
# reaches this share.
_OVERSHOOT, _OVERSHOOT_PIXELS, _EDGE = 0.02, 2.0, 0.95
# A scale is out of the question where this share of the images speaks against it, unless more speak for it and for no
# other. The detector's takes so many images that speak for it, and so many times those of any other scale.
_MOST_AGAINST, _LEAST_FOR, _DOMINANCE = 0.1, 20, 4


@dataclass(frozen=True)
class Scale:
    """What boxes are measured in.

    Attributes:
        detector_size: short and long side of the detector's images; ``None``: boxes are in pixels of the original.
    """

    detector_size: tuple[int, int] | None = None

    def factor(self, size: tuple[int, int]) -> float:
        """What boxes have been multiplied by, in an image of that width and height."""
        if self.detector_size is None:
            return 1.0
        return min(self.detector_size[0] / min(size), self.detector_size[1] / max(size))

    def __str__(self) -> str:
        if self.detector_size is None:
            return "original pixels"
        return "the detector's {}/{}".format(*self.detector_size)


ORIGINAL = Scale()


def prescribed_scale(options: RegionOptions) -> Scale | None:
    """The scale that options say; ``None`` where it is to be found out."""
    if options.rect_scale == "auto":
        return None
    return ORIGINAL if options.rect_scale == "original" else Scale(_given_size(options) or DETECTOR_SIZE)


def possible_scales(options: RegionOptions) -> list[Scale]:
    """The scales that come into question, the original's first."""
    given = _given_size(options)
    return [ORIGINAL, *(Scale(size) for size in ([given] if given else _KNOWN_SIZES))]


class ScaleEvidence:
    """Counts what images say.

    Args:
        scales: see :func:`possible_scales`.
        counts: int [1 + 2 * scales]: images, images against and images for every scale; made by another one.
    """

    def __init__(self, scales: Sequence[Scale], counts: np.ndarray | None = None):
        self.scales = list(scales)
        self.counts = np.zeros(1 + 2 * len(scales), np.int64) if counts is None else counts

    @property
    def num_images(self) -> int:
        return int(self.counts[0])

    @property
    def against(self) -> np.ndarray:
        """Images that speak against each of the scales."""
        return self.counts[1 : 1 + len(self.scales)]

    @property
    def speaking_for(self) -> np.ndarray:
        """Images that speak for each of the scales."""
        return self.counts[1 + len(self.scales) :]

    def add_image(self, size: tuple[int, int], right: float, bottom: float) -> None:
        """Add an image.

        Args:
            size: width and height of the original.
            right, bottom: how far its boxes reach, at most.
        """
        self.counts[0] += 1
        reached = []
        for number, scale in enumerate(self.scales):
            factor = scale.factor(size)
            ends = (right / factor, bottom / factor)
            if any(e > side * (1 + _OVERSHOOT) + _OVERSHOOT_PIXELS for e, side in zip(ends, size, strict=True)):
                self.against[number] += 1
            elif any(e >= side * _EDGE for e, side in zip(ends, size, strict=True)):
                reached.append(number)
        if len(reached) == 1:
            self.speaking_for[reached[0]] += 1

    def decide(self) -> Scale | None:
        """The scale, ``None`` where it cannot be known.

        It is the detector's where enough images say so, and the original's where boxes fit into the originals and the
        detector's does not have as much for it.
        """
        votes = self.speaking_for
        others = np.array([np.delete(votes, number).max() for number in range(len(votes))])
        is_dominant = (votes >= _LEAST_FOR) & (votes >= _DOMINANCE * others)
        # Some detectors let many boxes leave the image; they end at the edge of more.
        is_possible = (self.against <= _MOST_AGAINST * self.num_images) | (is_dominant & (self.against <= votes))
        for scale, possible, dominant in zip(self.scales[1:], is_possible[1:], is_dominant[1:], strict=True):
            if possible and dominant:
                return scale
        is_contested = is_possible & (votes >= _LEAST_FOR) & (votes[0] < _DOMINANCE * votes)
        return ORIGINAL if is_possible[0] and not is_contested[1:].any() else None

    def __str__(self) -> str:
        said = [
            f"as {scale}, boxes leave {against:,} of them and end at the edge of {votes:,}"
            for scale, against, votes in zip(
                self.scales, self.against.tolist(), self.speaking_for.tolist(), strict=True
            )
        ]
        return f"{self.num_images:,} images; {'; '.join(said)}"


def unknown_scale(where: Any, evidence: str) -> InputError:
    """The error for a source whose scale cannot be known."""
    return InputError(
        str(where),
        f"it cannot be known whether 'rect' is in pixels of the original image or of the detector's ({evidence})",
        REMEDY,
    )


REMEDY = (
    "Say so: region_options.rect_scale=original, or region_options.rect_scale=detector with the detector's sizes, "
    "region_options.detector_size=[800,1333] or [600,1000]"
)


def _given_size(options: RegionOptions) -> tuple[int, int] | None:
    return (options.detector_size[0], options.detector_size[1]) if options.detector_size else None
