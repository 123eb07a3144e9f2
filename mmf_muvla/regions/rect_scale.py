"""Decides, once for a source, what the boxes called ``rect`` are measured in, where nothing in the files says so.

They are in pixels of the original image, or of the image as the detector saw it, for which it was resized. Each of the
scales that come into question is held against all images of the source:

* An image speaks *against* a scale where a box leaves the image, taken in that scale, by more than a little.
* It speaks *for* a scale where a box ends at the image's right or lower edge, as boxes of floors, walls and skies do,
  in that scale and in no other.

Boxes of a detector may leave an image by some pixels, so that one image alone proves nothing.

Boxes always fit where the scale they are taken in has the larger image. That they fit is therefore no evidence for it:
there, the images that end at the edge decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmf_muvla.errors import InputError
from mmf_muvla.regions.options import RegionOptions

# The detectors' input: the short side becomes so many pixels, unless the long side would exceed the second number.
DETECTOR_SIZE = (800, 1333)
_KNOWN_SIZES = (DETECTOR_SIZE, (600, 1000))
# A box leaves the image if it does so by more than this share of it and so many pixels; it ends at the edge if it
# reaches this share.
_OVERSHOOT, _OVERSHOOT_PIXELS, _EDGE = 0.02, 2.0, 0.95
# A scale is out of the question where this share of the images speaks against it, unless more speak for it and for no
# other. The detector's takes so many images that speak for it, and so many times those of any other scale.
_MOST_AGAINST, _LEAST_FOR, _DOMINANCE = 0.1, 20, 4
# Among images whose boxes fit in two scales, so many that end at the edge in one of them make the other doubtful,
# unless that has _DOMINANCE times as many.
_LEAST_DOUBT = 3
# Of so many images, at least this share ends at the edge of the original where boxes are in its pixels; of COCO's
# images, three quarters do.
_MANY_IMAGES, _LEAST_AT_EDGE = 20, 0.05
# Where boxes end so early, they are relative to the image.
_RELATIVE = 1.1


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
        counts: int [3 + 6 * scales], made by another one: images, those that end at the edge of the original, those
            whose boxes are relative to the image; for every scale, images against it, images for it, and four more
            (see ``compared``).
    """

    def __init__(self, scales: Sequence[Scale], counts: np.ndarray | None = None):
        self.scales = list(scales)
        self.counts = np.zeros(3 + 6 * len(scales), np.int64) if counts is None else counts

    @property
    def num_images(self) -> int:
        return int(self.counts[0])

    @property
    def against(self) -> np.ndarray:
        """Images that speak against each of the scales."""
        return self.counts[3:].reshape(6, -1)[0]

    @property
    def speaking_for(self) -> np.ndarray:
        """Images that speak for each of the scales."""
        return self.counts[3:].reshape(6, -1)[1]

    @property
    def compared(self) -> np.ndarray:
        """Images that end at the edge in either the original's pixels or another scale, [2, 2, scales].

        First the images for which that scale's are larger than the original, then those for which they are smaller; of
        each first those that end at the edge as original pixels, then those that do in that scale.
        """
        return self.counts[3:].reshape(6, -1)[2:].reshape(2, 2, -1)

    def add_image(self, size: tuple[int, int], right: float, bottom: float) -> None:
        """Add an image.

        Args:
            size: width and height of the original.
            right, bottom: how far its boxes reach, at most.
        """
        self.counts[0] += 1
        factors = [scale.factor(size) for scale in self.scales]
        reached = []
        for number, factor in enumerate(factors):
            ends = (right / factor, bottom / factor)
            if any(e > side * (1 + _OVERSHOOT) + _OVERSHOOT_PIXELS for e, side in zip(ends, size, strict=True)):
                self.against[number] += 1
            elif any(e >= side * _EDGE for e, side in zip(ends, size, strict=True)):
                reached.append(number)
        if len(reached) == 1:
            self.speaking_for[reached[0]] += 1
        self.counts[1] += 0 in reached
        self.counts[2] += max(right, bottom) <= _RELATIVE
        for number, factor in enumerate(factors):
            if factor != 1 and (0 in reached) != (number in reached):
                self.compared[int(factor < 1), int(number in reached), number] += 1

    def is_relative(self) -> bool:
        """Whether boxes are no pixels at all but relative to the image, in all images but a few damaged ones."""
        return self.num_images > 0 and int(self.counts[2]) >= (1 - _MOST_AGAINST) * self.num_images

    def decide(self) -> Scale | None:
        """The scale, ``None`` where it cannot be known.

        It is the detector's where enough images say so, and the original's where boxes fit into the originals, enough
        of them end at their edge, and among images larger than the detector's, hardly any end at the edge of those.
        Few images that say nothing at all are taken as original pixels.
        """
        votes = self.speaking_for
        others = np.array([np.delete(votes, number).max() for number in range(len(votes))])
        is_dominant = (votes >= _LEAST_FOR) & (votes >= _DOMINANCE * others)
        # Some detectors let many boxes leave the image; they end at the edge of more.
        is_possible = (self.against <= _MOST_AGAINST * self.num_images) | (is_dominant & (self.against <= votes))
        (original, detector), (original_of_large, detector_of_large) = self.compared
        is_doubtful = _is_doubtful(detector, original)
        for number in range(1, len(self.scales)):
            if is_possible[number] and is_dominant[number]:
                return None if is_doubtful[number] else self.scales[number]
        if not is_possible[0] or _is_doubtful(original_of_large, detector_of_large).any():
            return None
        says_something = self.num_images >= _MANY_IMAGES or detector_of_large.any()
        return None if says_something and self.counts[1] < _LEAST_AT_EDGE * self.num_images else ORIGINAL

    def __str__(self) -> str:
        said = [
            f"as {scale}, boxes leave {against:,} of them and end at the edge of {votes:,} in this scale alone"
            for scale, against, votes in zip(
                self.scales, self.against.tolist(), self.speaking_for.tolist(), strict=True
            )
        ]
        at_edge = f"the boxes of {int(self.counts[1]):,} end at the original's edge"
        return f"{self.num_images:,} images; {'; '.join(said)}; all in all, {at_edge}"


def _is_doubtful(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether images that end at the edge in a scale are too few compared to those that do in another."""
    return (others >= _LEAST_DOUBT) & (images < _DOMINANCE * others)


def unknown_scale(where: Any, evidence: str) -> InputError:
    """The error for a source whose scale cannot be known."""
    return InputError(
        str(where),
        f"it cannot be known whether 'rect' is in pixels of the original image or of the detector's ({evidence})",
        REMEDY,
    )


def relative_rect(where: Any) -> InputError:
    """The error for a source whose boxes are no pixels."""
    return InputError(
        str(where),
        "'rect' seems to be relative to the image: boxes end within its first pixel",
        "Multiply x by image_w and y by image_h, so that 'rect' is in pixels",
    )


REMEDY = (
    "Say so: region_options.rect_scale=original, or region_options.rect_scale=detector with the detector's sizes, "
    "region_options.detector_size=[800,1333] or [600,1000]"
)


def _given_size(options: RegionOptions) -> tuple[int, int] | None:
    return (options.detector_size[0], options.detector_size[1]) if options.detector_size else None
