"""Boxes: x1, y1, x2, y2 in pixels, continuous, so that one of x1=0, x2=10 is 10 wide."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A box may leave the image by this share of its side, and by so many pixels in a small image; it is clipped. Detectors
# that regress boxes leave it by some pixels; what leaves it further has been measured otherwise, or belongs elsewhere.
OVERSHOOT, OVERSHOOT_PIXELS = 0.05, 5.0
# How far two descriptions of a box may be from each other: pixels, and a share of the largest side.
_SAME_BOX_PIXELS, _SAME_BOX_SHARE = 2.0, 0.005


def intersection_over_union(boxes: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of boxes [n, 4] with one target [4]: float64 [n]. An empty box overlaps nothing."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    goal = np.asarray(target, np.float64)
    shared = np.concatenate([np.maximum(corners[:, :2], goal[:2]), np.minimum(corners[:, 2:], goal[2:])], axis=1)
    intersection, areas, goal_area = (
        (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1) for boxes in (shared, corners, goal[None])
    )
    union = areas + goal_area - intersection
    return np.divide(intersection, union, out=np.zeros(len(corners)), where=union > 0)


def limits_of(size: tuple[int, int]) -> NDArray[np.float64]:
    """How far each side of a box reaches at most in an image of that width and height, [4]."""
    return np.array([*size, *size], np.float64)


def allowed_overshoot(limits: np.ndarray) -> np.ndarray:
    """By how many pixels boxes may leave an image whose sides are ``limits``."""
    return np.maximum(OVERSHOOT * limits, OVERSHOOT_PIXELS)


def end_with_box(rows: np.ndarray) -> bool:
    """Whether the last six numbers of rows [n, d] look like a box relative to the image, and its size."""
    if rows.shape[1] <= 6:
        return False
    x1, y1, x2, y2, width, height = rows[:, -6:].astype(np.float64).T
    # Features can end with zeros, which would fit each other as well.
    return bool((width > 0).any() and np.allclose([x2 - x1, y2 - y1], [width, height], rtol=1e-2, atol=1e-3))


def compare(rects: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> tuple[bool, int | None]:
    """Compare two descriptions of the same boxes, float64 [n, 4], of which ``boxes`` are in pixels of the image.

    They are equal but for rounding, or but for one factor per axis; either may have been clipped to the image.

    Returns:
        Whether ``rects`` are in another scale, and the region that differs most; None where they are the same.
    """
    factors = np.ones(4)
    for axis in (0, 1):
        rect_sides, box_sides = rects[:, axis::2], boxes[:, axis::2]
        inside = (box_sides > 1) & (box_sides < size[axis] - 1)
        if inside.any():
            rect_sides, box_sides = rect_sides[inside], box_sides[inside]
        factors[axis::2] = (rect_sides * box_sides).sum() / max((box_sides**2).sum(), 1e-9)
    # The detector's image has whole pixels, so its two axes have slightly different factors.
    allowed = _SAME_BOX_PIXELS + _SAME_BOX_SHARE * np.abs(rects).max()
    distances = [_distances(rects, boxes, limits_of(size), factor) for factor in (np.ones(4), np.maximum(factors, 0))]
    for distance, is_scaled in zip(distances, (False, True), strict=True):
        if (distance <= allowed).all():
            return is_scaled, None
    # In the scale in which most fit, the one that fits least.
    return False, int(max(distances, key=lambda distance: (distance <= allowed).sum()).argmax())


def _distances(rects: np.ndarray, boxes: np.ndarray, limits: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """How far ``rects`` and boxes times a factor are from each other, [n], not counting what was clipped."""
    inside = np.clip(rects, 0, limits * factor) - np.clip(boxes * factor, 0, limits * factor)
    # Further out than what is clipped, they are compared again.
    low, high = -allowed_overshoot(limits), limits + allowed_overshoot(limits)
    outside = np.clip(rects, None, low * factor) - np.clip(boxes, None, low) * factor
    outside += np.clip(rects, high * factor, None) - np.clip(boxes, high, None) * factor
    return (np.abs(inside) + np.abs(outside)).max(axis=1)
