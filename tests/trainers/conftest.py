"""What tests of whole runs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def own_registry() -> Iterator[None]:
    """What a run leaves in MMF's registry is not for other tests."""
    from mmf.common.registry import registry

    before = dict(registry.mapping["state"])
    yield
    registry.mapping["state"].clear()
    registry.mapping["state"].update(before)
