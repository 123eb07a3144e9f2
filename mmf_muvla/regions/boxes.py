"""How much boxes overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def intersection_over_union(boxes: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of each box with one target.

    Boxes are continuous: one of x1=0, x2=10 is 10 wide. An empty box overlaps nothing.

    Args:
        boxes: [n, 4], as x1, y1, x2, y2.
        target: [4], the same.

    Returns:
        float64 [n], in [0, 1].
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    goal = np.asarray(target, np.float64)
    size = (np.minimum(corners[:, 2:], goal[2:]) - np.maximum(corners[:, :2], goal[:2])).clip(min=0)
    intersection = size.prod(axis=1)
    union = _area(corners) + _area(goal[None]) - intersection
    return np.divide(intersection, union, out=np.zeros(len(corners)), where=union > 0)


def _area(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, 4] -> [n]"""
    return (corners[:, 2:] - corners[:, :2]).clip(min=0).prod(axis=1)
