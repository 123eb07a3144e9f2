"""The categories that a text names."""

from __future__ import annotations

from mmf_muvla.toyworld.vocabulary import CATEGORIES

CATEGORY_OF = {word: name for name, c in CATEGORIES.items() for n in c.nouns for word in (n.singular, n.plural)}


def categories_in(text: str) -> list[str]:
    """The categories of a text's nouns, in order."""
    return [CATEGORY_OF[word] for word in text.rstrip("?").split() if word in CATEGORY_OF]
