"""How evenly a corpus uses its sentences. A few, the hubs, are close to very many images, and say what all have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

MANY = 100
# Beyond both, sentences are used so unevenly that it is said: the first finds the hubs, the second whether they matter.
HUB_SKEWNESS, HUB_SHARE = 10.0, 0.1


def measure_uses(uses: np.ndarray, pool_size: int | None = None) -> dict[str, float]:
    """How unevenly sentences are used.

    Args:
        uses: for how many images each sentence was retrieved, int [n]; of those that never were, some may be left out.
        pool_size: how many sentences there are; ``None``: n.

    Returns:
        ``max_uses``: for how many images the most used sentence was retrieved; ``share_of_top_100``: of all places
        that there are, images times K, the share that the 100 most used fill; ``skewness``: the third standardised
        moment of the numbers of uses, 0 where all are used alike, by which hubs are usually measured (Radovanović et
        al., 2010: "k-occurrences").
    """
    count, places = max(pool_size or 0, len(uses)), int(uses.sum(dtype=np.int64))
    if not places:
        return {"max_uses": 0, "share_of_top_100": 0.0, "skewness": 0.0}
    top = np.partition(uses, -min(MANY, len(uses)))[-MANY:]
    mean = places / count
    missing = count - len(uses)
    variance, third = ((float(((uses - mean) ** power).sum()) + missing * (-mean) ** power) / count for power in (2, 3))
    return {
        "max_uses": int(top.max()),
        "share_of_top_100": round(int(top.sum(dtype=np.int64)) / places, 4),
        "skewness": round(third / variance**1.5, 2) if variance > 0 else 0.0,
    }


def hub_warning(measured: Mapping[str, Any]) -> str:
    """What to say of :func:`measure_uses`: empty where sentences are used evenly enough."""
    if measured["skewness"] <= HUB_SKEWNESS or measured["share_of_top_100"] <= HUB_SHARE:
        return ""
    return (
        f"few sentences stand for many images: the {MANY} most used have {measured['share_of_top_100']:.0%} of all "
        f"places, and one is used for {measured['max_uses']:,} images (skewness {measured['skewness']:.1f}). "
        "retrieval.max_uses limits that, retrieval.scores=csls prefers sentences that suit fewer images; see "
        "docs/retrieval_settings.md"
    )
