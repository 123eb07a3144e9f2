"""Decides, once for a source, what the boxes called ``rect`` are measured in, where nothing in the files says so.

They are in pixels of the original image, or of the image as the detector saw it. An image speaks *against* a scale if a
box leaves the image in that scale by more than a little, and *for* it if a box ends at the image's right or lower edge,
as boxes of floors, walls and skies do, in that scale and in no other. Boxes always fit where the scale has the larger
image: there, the images that end at the edge decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmf_muvla.errors import InputError
from mmf_muvla.regions.options import RegionOptions

# The detectors' input: the short side becomes so many pixels, unless the long side would exceed the second number.
DETECTOR_SIZE = (800, 1333)
_KNOWN_SIZES = (DETECTOR_SIZE, (600, 1000))
# A box leaves the image if it does so by more than this share of it and so many pixels; it ends at the edge if it
# reaches this share. Where boxes end within so many pixels, they are relative to the image.
_OVERSHOOT, _OVERSHOOT_PIXELS, _EDGE, _RELATIVE = 0.02, 2.0, 0.95, 1.1
# A scale is out of the question where this share of the images speaks against it, unless more speak for it and for no
# other. The detector's takes so many images that speak for it, and so many times those of any other scale.
_MOST_AGAINST, _LEAST_FOR, _DOMINANCE = 0.1, 20, 4
# Among images whose boxes fit in two scales, so many that end at the edge in one of them make the other doubtful,
# unless that has _DOMINANCE times as many.
_LEAST_DOUBT = 3
# Of so many images, at least this share ends at the edge of the original where boxes are in its pixels.
_MANY_IMAGES, _LEAST_AT_EDGE = 20, 0.05


@dataclass(frozen=True)
class Scale:
    """What boxes are in: pixels of the detector's images, whose short and long side are given, or of the original."""

    detector_size: tuple[int, int] | None = None

    def factor(self, size: tuple[int, int]) -> float:
        """What boxes have been multiplied by, in an image of that width and height."""
        return min(self.detector_size[0] / min(size), self.detector_size[1] / max(size)) if self.detector_size else 1.0

    def __str__(self) -> str:
        return "the detector's {}/{}".format(*self.detector_size) if self.detector_size else "original pixels"


_ORIGINAL = Scale()


def possible_scales(options: RegionOptions) -> list[Scale]:
    """The scales that come into question, the original's first."""
    sizes = [tuple(options.detector_size)] if options.detector_size else _KNOWN_SIZES
    return [_ORIGINAL, *(Scale((short, long)) for short, long in sizes)]


class ScaleEvidence:
    """Counts what images say of scales; ``counts`` are those of another one, or the sum of several."""

    def __init__(self, scales: Sequence[Scale], counts: np.ndarray | None = None):
        self.scales = list(scales)
        self.counts = np.zeros(3 + 6 * len(scales), np.int64) if counts is None else counts
        # Images, those that end at the edge of the original, those whose boxes are relative to the image.
        self.totals = self.counts[:3]
        # Images that speak against, and for, each of the scales.
        self.against, self.speaking_for, *_ = by_scale = self.counts[3:].reshape(6, -1)
        # Images that end at the edge in either the original's pixels or another scale: by whether that scale has the
        # smaller image, and whether they end at the edge in that scale.
        self.compared = by_scale[2:].reshape(2, 2, -1)

    def __reduce__(self) -> tuple[type[ScaleEvidence], tuple[list[Scale], np.ndarray]]:
        return (type(self), (self.scales, self.counts))

    def add_image(self, size: tuple[int, int], right: float, bottom: float) -> None:
        """Add an image: width and height of the original, and how far its boxes reach at most."""
        self.totals[0] += 1
        factors = [scale.factor(size) for scale in self.scales]
        reached = []
        for number, factor in enumerate(factors):
            ends = ((right / factor, size[0]), (bottom / factor, size[1]))
            if any(end > side * (1 + _OVERSHOOT) + _OVERSHOOT_PIXELS for end, side in ends):
                self.against[number] += 1
            elif any(end >= side * _EDGE for end, side in ends):
                reached.append(number)
        if len(reached) == 1:
            self.speaking_for[reached[0]] += 1
        self.totals[1] += 0 in reached
        self.totals[2] += max(right, bottom) <= _RELATIVE
        for number, factor in enumerate(factors):
            if factor != 1 and (0 in reached) != (number in reached):
                self.compared[int(factor < 1), int(number in reached), number] += 1

    def is_relative(self) -> bool:
        """Whether boxes are no pixels at all but relative to the image, in all images but a few damaged ones."""
        num_images, _, num_relative = self.totals.tolist()
        return num_images > 0 and num_relative >= (1 - _MOST_AGAINST) * num_images

    def decide(self) -> Scale | None:
        """The scale, ``None`` where it cannot be known; few images that say nothing are taken as original pixels."""
        num_images, num_at_edge, _ = self.totals.tolist()
        votes = self.speaking_for
        others = np.array([np.delete(votes, number).max() for number in range(len(votes))])
        is_dominant = (votes >= _LEAST_FOR) & (votes >= _DOMINANCE * others)
        # Some detectors let many boxes leave the image; they end at the edge of more.
        is_possible = (self.against <= _MOST_AGAINST * num_images) | (is_dominant & (self.against <= votes))
        (original, detector), (original_of_large, detector_of_large) = self.compared
        is_doubtful = _is_doubtful(detector, original)
        for number in range(1, len(self.scales)):
            if is_possible[number] and is_dominant[number]:
                return None if is_doubtful[number] else self.scales[number]
        if not is_possible[0] or _is_doubtful(original_of_large, detector_of_large).any():
            return None
        says_something = num_images >= _MANY_IMAGES or detector_of_large.any()
        return None if says_something and num_at_edge < _LEAST_AT_EDGE * num_images else _ORIGINAL

    def __str__(self) -> str:
        num_images, num_at_edge, _ = self.totals.tolist()
        said = "; ".join(
            f"as {scale}, boxes leave {against:,} of them and end at the edge of {votes:,} in this scale alone"
            for scale, against, votes in zip(self.scales, self.against, self.speaking_for, strict=True)
        )
        return f"{num_images:,} images; {said}; all in all, the boxes of {num_at_edge:,} end at the original's edge"


def _is_doubtful(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether images that end at the edge in a scale are too few compared to those that do in another."""
    return (others >= _LEAST_DOUBT) & (images < _DOMINANCE * others)


REMEDY = (
    "Say so: region_options.rect_scale=original, or region_options.rect_scale=detector with the detector's sizes, "
    "region_options.detector_size=[800,1333] or [600,1000]"
)


def choose_scale(
    options: RegionOptions, evidence: ScaleEvidence, is_needed: bool, predictions: Path
) -> tuple[Scale | None, str]:
    """What ``rect`` is measured in, ``None`` where it is not known, and why.

    Raises:
        InputError: it cannot be known or is no pixels, and there are boxes that it is needed for.
    """
    if is_needed and evidence.is_relative():
        problem = "'rect' seems to be relative to the image: boxes end within its first pixel"
        remedy = "Multiply x by image_w and y by image_h, so that 'rect' is in pixels"
        raise InputError(str(predictions), problem, remedy)
    prescribed = {"auto": None, "original": _ORIGINAL, "detector": possible_scales(options)[1]}[options.rect_scale]
    scale = None if evidence.is_relative() else prescribed or evidence.decide()
    if not is_needed:
        return scale, "rows have boxes of their own, which count; rect is compared with them"
    if scale is None:
        problem = "it cannot be known whether 'rect' is in pixels of the original image or of the detector's"
        raise InputError(str(predictions.parent), f"{problem} ({evidence})", REMEDY)
    why = "as region_options.rect_scale says" if prescribed else f"decided from {evidence}"
    return scale, f"rect is in {scale}, {why}"
