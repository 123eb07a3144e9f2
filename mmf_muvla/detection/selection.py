"""Which detections of a picture are its regions."""

from __future__ import annotations

import numpy as np

from mmf_muvla.detection.detectors.detector import Detections
from mmf_muvla.detection.options import DetectionOptions


def select(found: Detections, size: tuple[int, int], options: DetectionOptions) -> Detections:
    """The regions of a picture, most confident first, their boxes cut at its edges.

    Going down in confidence, a detection stays unless its box overlaps that of one that stays by more than
    ``max_overlap``. From ``min_regions`` on, those below ``min_confidence`` are left out; more than ``max_regions``
    never stay. A box that has no area inside the picture, or is not finite, is no region.

    Args:
        found: detections in any order.
        size: the picture's width and height.
        options: see there.
    """
    boxes = np.clip(found.boxes.astype(np.float32), 0, np.array([*size, *size], np.float32))
    is_finite = np.isfinite(found.scores) & np.isfinite(found.boxes).all(axis=1)
    is_usable = is_finite & np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    order = np.flatnonzero(is_usable)
    order = order[np.argsort(-found.scores[order], kind="stable")]
    kept: list[int] = []
    while len(order) and len(kept) < options.max_regions:
        best = order[0]
        if found.scores[best] < options.min_confidence and len(kept) >= options.min_regions:
            break
        kept.append(int(best))
        order = order[1:]
        order = order[overlaps(boxes[best], boxes[order]) <= options.max_overlap]
    chosen = np.array(kept, np.int64)
    return Detections(boxes[chosen], found.labels[chosen], found.scores[chosen], found.features[chosen])


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box [4] with others [n, 4], float64 [n]; all have an area."""
    box, others = box.astype(np.float64), others.astype(np.float64)
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return common / (np.prod(box[2:] - box[:2]) + areas - common)
