"""The categories that a text names, and how far chance may carry an accuracy."""

from __future__ import annotations

import numpy as np

from mmf_muvla.toyworld.vocabulary import CATEGORIES

CATEGORY_OF = {word: name for name, c in CATEGORIES.items() for n in c.nouns for word in (n.singular, n.plural)}


def categories_in(text: str) -> list[str]:
    """The categories of a text's nouns, in order."""
    return [CATEGORY_OF[word] for word in text.rstrip("?").split() if word in CATEGORY_OF]


def sampling_error(accuracy: float, count: int) -> float:
    """Two standard errors of an accuracy on ``count`` examples."""
    return float(2 * np.sqrt(accuracy * (1 - accuracy) / count))
