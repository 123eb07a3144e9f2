"""Intersection over union, against areas counted by hand."""

from __future__ import annotations

import pytest

from mmf_muvla.regions.boxes import intersection_over_union


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 10, 10], 1.0),  # the same
        ([5, 0, 15, 10], 50 / 150),  # shifted by half
        ([0, 0, 5, 10], 0.5),  # the left half
        ([2, 2, 4, 7], 10 / 100),  # inside
        ([-10, -10, 30, 30], 100 / 1600),  # around
        ([10, 0, 20, 10], 0.0),  # side by side: the edge has no area
        ([20, 20, 30, 30], 0.0),  # apart
        ([5, 5, 5, 9], 0.0),  # without area
        ([8, 8, 2, 2], 0.0),  # inside out
    ],
)
def test_with_a_square_of_ten(box: list[float], expected: float) -> None:
    assert intersection_over_union([box], [0, 0, 10, 10]).tolist() == pytest.approx([expected])


def test_many_boxes_are_taken_at_once_and_none_is_fine() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 5.1], [0, 0, 10, 5]]
    assert (intersection_over_union(boxes, [0, 0, 10, 10]) > 0.5).tolist() == [True, True, False]
    assert intersection_over_union([], [0, 0, 10, 10]).shape == (0,)
