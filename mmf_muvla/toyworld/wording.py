"""Small pieces of English that captions, books and tasks share."""

from __future__ import annotations

import random
from collections.abc import Iterable

from mmf_muvla.toyworld.vocabulary import CATEGORIES, Noun

NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_POSTURES = {
    "person": ("standing", "waiting", "smiling", "resting"),
    "beast": ("standing", "resting", "looking around"),
    "fowl": ("walking about", "looking for food"),
    "wild": ("standing", "looking around", "resting"),
    "vehicle": ("parked", "standing", "waiting"),
    "cycle": ("parked", "standing"),
    "furniture": ("standing",),
    "furnishing": ("placed",),
    "tableware": ("standing", "sitting"),
    "fruit": ("lying", "sitting"),
    "paper": ("lying",),
    "device": ("placed",),
    "plant": ("growing",),
    "building": ("standing",),
    "toy": ("lying",),
    # Some categories differ from their families.
    "airplane": ("flying", "passing"),
    "pigeon": ("flying", "hovering"),
    "kite": ("flying", "floating"),
    "boat": ("anchored", "resting"),
    "clock": ("hanging",),
    "television": ("hanging", "mounted"),
    "umbrella": ("standing", "placed"),
}


def posture(rng: random.Random, category: str) -> str:
    """What things of a category do in a picture, as a participle ("standing")."""
    return rng.choice(_POSTURES.get(category) or _POSTURES[CATEGORIES[category].family])


def choose_noun(rng: random.Random, category: str, synonym_share: float = 0.45) -> Noun:
    """A word for a category: its name, or one of its synonyms with probability ``synonym_share``."""
    name, *synonyms = CATEGORIES[category].nouns
    return rng.choice(synonyms) if synonyms and rng.random() < synonym_share else name


def is_person(category: str) -> bool:
    """Whether a colour is the colour of clothes."""
    return CATEGORIES[category].family == "person"


def coloured(category: str, noun: str, colour: str, size: str = "") -> str:
    """A noun with its adjectives: "small red car", but "small man in red". Empty words are left out."""
    words = (size, noun, "in", colour) if is_person(category) and colour else (size, colour, noun)
    return " ".join(filter(None, words))


def has_colour(category: str, colour: str) -> str:
    """The predicate: "is red", but "wears red"."""
    return f"{'wears' if is_person(category) else 'is'} {colour}"


def with_article(words: str) -> str:
    """Put "a" or "an" before a singular phrase."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def capitalised(sentence: str) -> str:
    """The sentence with its first letter, which may follow a quotation mark, in upper case."""
    first = 1 if sentence.startswith('"') else 0
    return sentence[:first] + sentence[first].upper() + sentence[first + 1 :]


def listing(phrases: list[str]) -> str:
    """Join phrases: "a, b and c"."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def first_distinct(sentences: Iterable[str], count: int) -> list[str]:
    """The first ``count`` different sentences of an endless supply."""
    found: dict[str, None] = {}
    for sentence in sentences:
        found[sentence] = None
        if len(found) == count:
            break
    return list(found)
