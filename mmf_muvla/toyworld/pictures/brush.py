"""A brush that paints in the unit square of a box, and the paints."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import ImageDraw

from mmf_muvla.toyworld.scenes import Box

RGB = tuple[int, int, int]
Point = tuple[float, float]

SCALE = 2  # pixels painted for each pixel shown

PAINT: dict[str, RGB] = {
    "red": (208, 58, 52),
    "yellow": (242, 201, 60),
    "green": (88, 158, 84),
    "blue": (66, 120, 196),
    "brown": (146, 98, 62),
    "black": (58, 58, 64),
    "white": (246, 245, 240),
    "gray": (152, 156, 162),
}
SKIN: RGB = (236, 196, 164)
HAIR: tuple[RGB, ...] = ((72, 50, 38), (40, 36, 36), (176, 128, 72), (120, 72, 44))
GLASS: RGB = (198, 224, 236)
TYRE: RGB = (52, 52, 56)
METAL: RGB = (120, 124, 130)
WOOD: RGB = (120, 84, 56)
INK: RGB = (44, 44, 52)


def darker(colour: RGB, factor: float = 0.68) -> RGB:
    return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))


def blended(colour: RGB, other: RGB, share: float) -> RGB:
    """A mixture with this share of the other colour."""
    red, green, blue = (int(one + (two - one) * share) for one, two in zip(colour, other, strict=True))
    return red, green, blue


def lighter(colour: RGB, share: float = 0.45) -> RGB:
    return blended(colour, (255, 255, 255), share)


class Brush:
    """Paints in the unit square of a box. Outlines are darker than what they surround."""

    def __init__(self, draw: ImageDraw.ImageDraw, box: Box, rng: random.Random):
        self.draw = draw
        self.rng = rng
        self.left, self.top = box[0] * SCALE, box[1] * SCALE
        self.width, self.height = (box[2] - box[0]) * SCALE, (box[3] - box[1]) * SCALE
        self.line_width = max(2, round(min(self.width, self.height) / 60))

    def at(self, u: float, v: float) -> Point:
        return (self.left + u * self.width, self.top + v * self.height)

    def part(self, u1: float, v1: float, u2: float, v2: float) -> Brush:
        """A brush for a part of the box."""
        (x1, y1), (x2, y2) = self.at(u1, v1), self.at(u2, v2)
        return Brush(self.draw, (x1 / SCALE, y1 / SCALE, x2 / SCALE, y2 / SCALE), self.rng)

    def polygon(self, points: Sequence[Point], fill: RGB, *, outline: bool = True) -> None:
        self.draw.polygon([self.at(u, v) for u, v in points], *self._inks(fill, outline))

    def rectangle(
        self, u1: float, v1: float, u2: float, v2: float, fill: RGB, *, radius: float = 0, outline: bool = True
    ) -> None:
        """A rectangle; ``radius`` of its corners is a share of its shorter side."""
        corners = [*self.at(u1, v1), *self.at(u2, v2)]
        pixels = radius * min(corners[2] - corners[0], corners[3] - corners[1])
        self.draw.rounded_rectangle(corners, pixels, *self._inks(fill, outline))

    def rectangles(self, us: Sequence[float], v1: float, width: float, v2: float, fill: RGB, **style: Any) -> None:
        """Equal rectangles side by side, each ``width`` wide."""
        for u in us:
            self.rectangle(u, v1, u + width, v2, fill, **style)

    def ellipse(self, u1: float, v1: float, u2: float, v2: float, fill: RGB, *, outline: bool = True) -> None:
        self.draw.ellipse([*self.at(u1, v1), *self.at(u2, v2)], *self._inks(fill, outline))

    def circle(self, u: float, v: float, radius: float, fill: RGB, *, outline: bool = True) -> None:
        """A circle whose radius is a share of the box's height, whatever the box's shape."""
        (x, y), r = self.at(u, v), radius * self.height
        self.draw.ellipse([x - r, y - r, x + r, y + r], *self._inks(fill, outline))

    def _inks(self, fill: RGB, outline: bool) -> tuple[RGB, RGB | None, int]:
        return fill, darker(fill) if outline else None, self.line_width

    def line(self, points: Sequence[Point], colour: RGB, thickness: float) -> None:
        """A line whose thickness is a share of the box's shorter side."""
        self.draw.line([self.at(u, v) for u, v in points], colour, self._pixels(thickness), joint="curve")

    def lines(self, lines: Iterable[Sequence[Point]], colour: RGB, thickness: float) -> None:
        for points in lines:
            self.line(points, colour, thickness)

    def arc(self, corners: Box, start: float, end: float, colour: RGB, thickness: float) -> None:
        """A part of an ellipse's edge, angles in degrees clockwise from three o'clock."""
        box = [*self.at(*corners[:2]), *self.at(*corners[2:])]
        self.draw.arc(box, start, end, colour, self._pixels(thickness))

    def _pixels(self, thickness: float) -> int:
        return max(2, round(thickness * min(self.width, self.height)))
