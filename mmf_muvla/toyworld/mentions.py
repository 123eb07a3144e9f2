"""Which kinds of objects a sentence of the toy world speaks of."""

from __future__ import annotations

import re

from mmf_muvla.toyworld.vocabulary import CATEGORIES

CATEGORY_OF = {
    word: name for name, it in CATEGORIES.items() for noun in it.nouns for word in (noun.singular, noun.plural)
}
"""The category of every noun, singular or plural."""

# Longest first, so that a name inside a longer one is not taken for it.
_NOUNS = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(CATEGORY_OF, key=len, reverse=True)))})\b")


def nouns_said(sentence: str) -> list[tuple[int, int, str]]:
    """Where in the sentence names and synonyms of categories stand: begin and end, in characters, and category."""
    return [(*found.span(), CATEGORY_OF[found[0]]) for found in _NOUNS.finditer(sentence.lower())]


def kinds_said(sentence: str) -> set[str]:
    """The categories whose name or synonym, singular or plural, stands in the sentence; empty where there is none."""
    return {category for _, _, category in nouns_said(sentence)}
