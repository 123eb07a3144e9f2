from __future__ import annotations

from typing import Any

import pytest

from mmf_muvla.pairing.config import QueryOptions
from mmf_muvla.pairing.query import query_text

TAGS = ["dog", "person", "car", "person", "cat"]
CONFIDENCE = [0.6, 0.7, 0.9, 0.55, 0.3]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "person. car. dog"),
        ({"separator": " "}, "person car dog"),
        ({"unique": False}, "person. person. car. dog"),
        ({"order": "confidence"}, "car. person. dog"),
        ({"order": "confidence", "unique": False}, "car. person. dog. person"),
        ({"order": "alphabetical", "separator": ", "}, "car, dog, person"),
        ({"min_confidence": 0.0}, "person. car. dog. cat"),
        # None is that confident: the best one remains.
        ({"min_confidence": 0.95}, "car"),
    ],
)
def test_query_text(changes: dict[str, Any], expected: str) -> None:
    assert query_text(TAGS, CONFIDENCE, QueryOptions(**changes)) == expected
