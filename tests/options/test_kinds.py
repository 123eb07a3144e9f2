"""Values as they come from a command line."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from mmf_muvla.options.kinds import as_list


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[region_tag,region_phrase]", ["region_tag", "region_phrase"]),
        ("['a', \"b\"]", ["a", "b"]),
        ("a", ["a"]),
        ("[]", []),
        (OmegaConf.create(["a", {"type": "b"}]), ["a", {"type": "b"}]),
        ((), []),
    ],
)
def test_lists_with_and_without_quotes(value: Any, expected: list[Any]) -> None:
    assert as_list(value) == expected
