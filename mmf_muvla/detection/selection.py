"""Which detections of a picture are its regions."""

from __future__ import annotations

import numpy as np

from mmf_muvla.detection.detectors.detector import Detections
from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.regions.boxes import intersection_over_union


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
        order = order[intersection_over_union(boxes[order], boxes[best]) <= options.max_overlap]
    chosen = np.array(kept, np.int64)
    return Detections(boxes[chosen], found.labels[chosen], found.scores[chosen], found.features[chosen])
