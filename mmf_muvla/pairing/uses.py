"""How evenly a corpus uses its sentences. A few, the hubs, are close to very many images, and say what all have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

MANY = 100
# Beyond both, sentences are used so unevenly that it is said: the first finds the hubs, the second whether they matter.
HUB_SKEWNESS, HUB_SHARE = 10.0, 0.1
# Whose uses are counted in one pass over what was retrieved: four bytes each are in memory.
_SENTENCES_AT_ONCE = 2**24


def count_uses(
    retrieved: Callable[[], Iterable[np.ndarray]], pool_size: int, at_once: int = _SENTENCES_AT_ONCE
) -> Iterator[tuple[int, np.ndarray]]:
    """For how many images each sentence was retrieved.

    Args:
        retrieved: gives arrays of the numbers of sentences, all of them, each time that it is called.
        pool_size: how many sentences there are.
        at_once: how many are counted in one pass.

    Yields:
        The number of a sentence, and the counts from it on, int32 [at most ``at_once``].
    """
    for first in range(0, pool_size, at_once):
        uses = np.zeros(min(at_once, pool_size - first), np.int32)
        for numbers in retrieved():
            places = numbers.reshape(-1) - first
            np.add.at(uses, places[(places >= 0) & (places < len(uses))], 1)
        yield first, uses


def use_frequencies(uses: np.ndarray) -> Counter[int]:
    """How many sentences are used for so many images, by that number; they can be added up."""
    return Counter(dict(zip(*(values.tolist() for values in np.unique(uses, return_counts=True)), strict=True)))


def measure_uses(frequencies: Mapping[int, int], pool_size: int | None = None) -> dict[str, float]:
    """How unevenly sentences are used.

    Args:
        frequencies: see :func:`use_frequencies`; of sentences that were never used, some may be left out.
        pool_size: how many sentences there are; ``None``: those that were counted.

    Returns:
        ``max_uses``: for how many images the most used sentence was retrieved; ``share_of_top_100``: of all places
        that there are, images times K, the share that the 100 most used fill; ``skewness``: the third standardised
        moment of the numbers of uses, 0 where all are used alike, by which hubs are usually measured (Radovanović et
        al., 2010: "k-occurrences").
    """
    counted = sum(frequencies.values())
    count = max(pool_size or 0, counted)
    places = sum(uses * sentences for uses, sentences in frequencies.items())
    if not places:
        return {"max_uses": 0, "share_of_top_100": 0.0, "skewness": 0.0}
    in_top, left = 0, MANY
    for uses in sorted(frequencies, reverse=True):
        chosen = min(left, frequencies[uses])
        in_top, left = in_top + chosen * uses, left - chosen
    mean = places / count
    groups = [(0, count - counted), *sorted(frequencies.items())]
    variance, third = (
        sum(sentences * (uses - mean) ** power for uses, sentences in groups) / count for power in (2, 3)
    )
    return {
        "max_uses": max(frequencies),
        "share_of_top_100": round(in_top / places, 4),
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
