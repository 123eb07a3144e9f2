from __future__ import annotations

from typing import Any

import numpy as np

from mmf_muvla.detection.detectors.detector import Detections
from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.detection.selection import select
from mmf_muvla.regions.boxes import intersection_over_union

SIZE = (200, 100)


def chosen(boxes: list[list[float]], scores: list[float], **options: Any) -> list[int]:
    """The numbers of the detections that are regions, told by their labels."""
    count = len(scores)
    features = np.arange(count, dtype=np.float32)[:, None]
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.arange(count), np.array(scores, np.float32), features
    )
    regions = select(found, SIZE, DetectionOptions(images="i", detector="d", **options))
    assert regions.features[:, 0].tolist() == regions.labels.tolist()
    return regions.labels.tolist()


def in_a_row(count: int) -> list[list[float]]:
    return [[2.0 * number, 0, 2.0 * number + 1, 10] for number in range(count)]


def test_intersection_over_union() -> None:
    box = np.array([0, 0, 10, 10], np.float32)
    # The same; half of it beside; a quarter of it inside; apart; touching.
    others = [[0, 0, 10, 10], [5, 0, 15, 10], [0, 0, 5, 5], [20, 20, 30, 30], [10, 0, 20, 10]]
    assert np.allclose(intersection_over_union(np.array(others, np.float32), box), [1, 50 / 150, 25 / 100, 0, 0])


def test_the_best_come_first_and_near_equal_boxes_are_one() -> None:
    # The best one is nine tenths of the first, and five ninths of it are the third.
    boxes = [[0, 0, 10, 10], [0, 0, 9, 10], [0, 0, 5, 10]]
    assert chosen(boxes, [0.5, 0.9, 0.7], max_overlap=0.6) == [1, 2]
    assert chosen(boxes, [0.5, 0.9, 0.7], max_overlap=0.5) == [1]
    assert chosen(boxes, [0.5, 0.9, 0.7], max_overlap=0.95) == [1, 2, 0]


def test_a_box_that_is_left_out_suppresses_nothing() -> None:
    # Each overlaps its neighbours by a third: the middle one is not there to suppress the last.
    boxes = [[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]]
    assert chosen(boxes, [0.9, 0.8, 0.7], max_overlap=0.3) == [0, 2]


def test_the_threshold_gives_way_to_the_least_number() -> None:
    scores = [0.9, 0.8, 0.3, 0.15, 0.1]
    assert chosen(in_a_row(5), scores, min_confidence=0.2, min_regions=1) == [0, 1, 2]
    assert chosen(in_a_row(5), scores, min_confidence=0.2, min_regions=4) == [0, 1, 2, 3]
    assert chosen(in_a_row(5), scores, min_confidence=0.2, min_regions=10) == [0, 1, 2, 3, 4]
    assert chosen(in_a_row(5), scores, min_confidence=0.2, max_regions=2) == [0, 1]


def test_as_many_as_the_paper_has_by_default() -> None:
    assert len(chosen(in_a_row(100), [0.19] * 100)) == 10
    assert len(chosen([[0.5 * number, 0, 0.5 * number + 0.4, 10] for number in range(150)], [0.2] * 150)) == 100


def test_equally_confident_ones_keep_the_order_of_the_detector() -> None:
    assert chosen(in_a_row(4), [0.5, 0.7, 0.5, 0.7]) == [1, 3, 0, 2]


def test_boxes_end_at_the_edges_and_what_has_no_area_is_no_region() -> None:
    boxes = [[-50, -5, 20, 20], [190, 90, 300, 400], [-9, 0, 0, 10], [0, 100, 10, 120], [0, 0, np.nan, 10]]
    boxes.append([-np.inf, 0, np.inf, 10])
    found = Detections(np.array(boxes, np.float32), np.arange(6), np.full(6, 0.9, np.float32), np.zeros((6, 1)))
    regions = select(found, SIZE, DetectionOptions(images="i", detector="d"))
    assert regions.boxes.tolist() == [[0, 0, 20, 20], [190, 90, 200, 100]]


def test_nothing_found_is_no_region() -> None:
    assert chosen([], []) == []
